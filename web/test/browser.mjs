// A real browser for tests. It blocks and records each request to another machine, and records all errors of pages.
import { strict as assert } from 'node:assert';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const { env } = process;
export const STEP_MS = Number(env.STEP_MS ?? 15_000);

export class Browser {
  /** The errors of all pages: in the console, in scripts, and of refused loads. */
  faults = [];
  /** The requests to other machines, all of which were blocked. */
  cut = [];

  static async open(folder) {
    if (folder !== undefined) await mkdir(folder, { recursive: true });
    const browser = new Browser();
    browser.folder = folder;
    browser.chromium = await chromium.launch({
      executablePath: env.CHROMIUM ?? '/usr/bin/chromium',
      args: [
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        // The interception below does not see a preconnect, for example. This option gives it no address.
        '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1, EXCLUDE [::1]',
      ],
    });
    return browser;
  }

  /** Opens a page in its own context. */
  async page(options = {}) {
    const context = await this.chromium.newContext({ viewport: { width: 1440, height: 900 }, ...options });
    const local = (address) => ['127.0.0.1', 'localhost', '[::1]'].includes(new URL(address).hostname);
    await context.route(
      (url) => ['http:', 'https:'].includes(url.protocol) && !local(url.href),
      (route) => {
        this.cut.push(route.request().url());
        return route.abort();
      },
    );
    const page = await context.newPage();
    page.setDefaultTimeout(STEP_MS);
    page.on('websocket', (socket) => local(socket.url()) || this.cut.push(socket.url()));
    page.on('pageerror', (error) => this.faults.push(`page: ${error.message}`));
    page.on('console', (message) => message.type() === 'error' && this.faults.push(`console: ${message.text()}`));
    return page;
  }

  async shoot(page, name) {
    if (this.folder !== undefined) await page.screenshot({ path: join(this.folder, `${name}.png`) });
  }

  assertClean() {
    assert.deepEqual(this.cut, [], 'requests left the machine');
    assert.deepEqual(this.faults, [], 'the pages reported errors');
    console.log('ok   no request left the machine, no error on the pages');
  }

  async close() {
    await this.chromium.close();
  }
}
