// A list whose changes can be seen: a row that stays glides to its new place, a new row slides in, and a row that
// leaves fades out.

/** A longer movement is in the way of the next change. A shorter movement is not seen from across a room. */
const MOVE_MS = 600;
const EASE = 'cubic-bezier(0.2, 0.8, 0.2, 1)';
const reducedMotion = matchMedia('(prefers-reduced-motion: reduce)');

export interface Rows<T> {
  key(item: T): string;
  /** Makes an empty row. */
  make(): HTMLElement;
  /** Fills a row. It is called at every `show`, also for an item that did not change. */
  draw(row: HTMLElement, item: T): void;
  /** Returns true if the item exists no more, false if it only moved beyond the end of the list. */
  gone?(key: string): boolean;
}

export class MovingList<T> {
  /** The rows in the list, by key. Rows that fade out are not among them. */
  readonly #shown = new Map<string, HTMLElement>();

  constructor(
    readonly root: HTMLElement,
    readonly rows: Rows<T>,
  ) {}

  /**
   * Returns how many rows of at least `leastRem` fit into the list, and sets `--rows` to that number. The style sheet
   * divides the height by `--rows`, so that the rows fill the list.
   */
  room(leastRem: number): number {
    const rem = Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
    const rows = Math.max(1, Math.floor((this.root.clientHeight + 1) / (leastRem * rem)));
    this.root.style.setProperty('--rows', `${rows}`);
    return rows;
  }

  /** Shows these items in this order. */
  show(items: readonly T[]): void {
    const moves = !reducedMotion.matches && !document.hidden;
    const keys = new Set(items.map((item) => this.rows.key(item)));
    const before = new Map<string, DOMRect>();
    if (moves) {
      for (const [key, row] of this.#shown) before.set(key, row.getBoundingClientRect());
    }

    for (const [key, row] of this.#shown) {
      if (keys.has(key)) continue;
      this.#shown.delete(key);
      if (moves) this.#leave(row, this.rows.gone?.(key) ?? false);
      else row.remove();
    }
    let previous: HTMLElement | null = null;
    for (const item of items) {
      const key = this.rows.key(item);
      let row = this.#shown.get(key);
      if (row === undefined) {
        row = this.rows.make();
        this.#shown.set(key, row);
      }
      this.rows.draw(row, item);
      // A row that is already in its place is not touched, because an element that is inserted again loses its
      // animation.
      const next: Element | null = previous === null ? this.#first() : this.#after(previous);
      if (next !== row) this.root.insertBefore(row, next);
      previous = row;
    }
    if (!moves) return;
    for (const [key, row] of this.#shown) {
      const from = before.get(key);
      if (from === undefined) this.#enter(row);
      else this.#glide(row, from);
    }
  }

  #first(): Element | null {
    return this.root.querySelector(':scope > :not(.leaving)');
  }

  #after(row: Element): Element | null {
    let next = row.nextElementSibling;
    while (next?.classList.contains('leaving')) next = next.nextElementSibling;
    return next;
  }

  #enter(row: HTMLElement): void {
    row.animate([{ opacity: 0, transform: 'translateX(-3rem)' }, {}], { duration: MOVE_MS, easing: EASE });
  }

  #glide(row: HTMLElement, from: DOMRect): void {
    const to = row.getBoundingClientRect();
    const x = from.left - to.left;
    const y = from.top - to.top;
    if (Math.abs(x) < 1 && Math.abs(y) < 1) return;
    row.animate([{ transform: `translate(${x}px, ${y}px)` }, {}], { duration: MOVE_MS, easing: EASE });
  }

  /**
   * Takes a row out of the flow at its place, and lets it fade out. A timer removes the element, because animations do
   * not end in a hidden page.
   */
  #leave(row: HTMLElement, gone: boolean): void {
    const { offsetTop, offsetLeft, offsetWidth, offsetHeight } = row;
    Object.assign(row.style, {
      position: 'absolute',
      top: `${offsetTop}px`,
      left: `${offsetLeft}px`,
      width: `${offsetWidth}px`,
      height: `${offsetHeight}px`,
    });
    row.classList.add('leaving');
    row.classList.toggle('gone', gone);
    const away = gone ? 'translateX(8rem)' : 'translateY(3rem)';
    row.animate([{}, { opacity: 0, transform: away }], { duration: MOVE_MS, easing: 'ease-in', fill: 'forwards' });
    setTimeout(() => row.remove(), MOVE_MS);
  }
}
