// A real server in the hands of a test: started, killed as a power cut kills it, started again at the same address.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';

export class Desk {
  #child = null;

  /** `port` is one that is free now: no server of another test can take it over between two lives. */
  constructor(binary, databaseUrl, port) {
    Object.assign(this, { binary, databaseUrl, port, base: `http://127.0.0.1:${port}` });
  }

  static async open(binary, databaseUrl) {
    const desk = new Desk(binary, databaseUrl, await freePort());
    process.once('exit', () => desk.#child?.kill('SIGKILL')); // whatever ends this process ends its servers
    await desk.start();
    return desk;
  }

  async start() {
    this.#child = spawn(
      this.binary,
      ['serve', '--listen', `127.0.0.1:${this.port}`, '--heartbeat-seconds', '1', '--database-url', this.databaseUrl],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    const child = this.#child;
    const log = [];
    await new Promise((listens, fails) => {
      createInterface({ input: child.stderr }).on('line', (line) => {
        if (log.length < 50) log.push(line);
        if (line.includes('listen=')) listens();
        else if (/ (WARN|ERROR) /.test(line)) console.error(`server: ${line}`);
      });
      child.once('exit', (code) => fails(new Error(`the server ended with ${code}:\n${log.join('\n')}`)));
    });
  }

  /** `kill -9`. */
  async kill() {
    const child = this.#child;
    if (child === null) return;
    this.#child = null;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  /** Takes the power from it without a word to its clients, as a cut cable does; `thaw` gives it back. */
  freeze() {
    this.#child.kill('SIGSTOP');
  }

  thaw() {
    this.#child.kill('SIGCONT');
  }

  async ask(query, variables = {}) {
    const answer = await fetch(`${this.base}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query, variables }),
    });
    const { data, errors } = await answer.json();
    if (errors) throw new Error(`${query} is refused: ${JSON.stringify(errors)}`);
    return data;
  }

  /** All incidents of a filter, by id. */
  async set(filter, fields) {
    const rows = new Map();
    for (let after = null, more = true; more; ) {
      const { incidents } = await this.ask(
        `query ($filter: IncidentFilterInput, $after: String) { incidents(filter: $filter, first: 100, after: $after) {
          pageInfo { endCursor hasNextPage } nodes { id version ${fields} } } }`,
        { filter, after },
      );
      for (const row of incidents.nodes) rows.set(row.id, row);
      ({ endCursor: after, hasNextPage: more } = incidents.pageInfo);
    }
    return rows;
  }
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** Waits until `reached` holds; says what was seen last when it does not. */
export async function until(what, reached, ms = Number(process.env.STEP_MS ?? 15_000)) {
  const deadline = Date.now() + ms;
  for (;;) {
    const seen = await reached();
    if (seen === true) return;
    if (Date.now() > deadline) throw new Error(`not in time: ${what}; seen: ${JSON.stringify(seen)}`);
    await new Promise((go) => setTimeout(go, 20));
  }
}

/** Numbers by chance, the same in each run. */
export function dice(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
