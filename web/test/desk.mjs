// A real server for tests. A test starts it, kills it as a loss of power does, and starts it again at the same address.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';

export class Desk {
  #child = null;

  /**
   * `port` was free when the desk was opened. The server listens on it after each start. Other tests use other ports.
   */
  constructor(binary, databaseUrl, port) {
    Object.assign(this, { binary, databaseUrl, port, base: `http://127.0.0.1:${port}` });
  }

  static async open(binary, databaseUrl) {
    const desk = new Desk(binary, databaseUrl, await freePort());
    process.once('exit', () => desk.#child?.kill('SIGKILL')); // The server ends with this process.
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

  /** Kills the server with SIGKILL. */
  async kill() {
    const child = this.#child;
    if (child === null) return;
    this.#child = null;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  /** Stops the process without a message to its clients, as a cut cable does. `thaw` continues it. */
  freeze() {
    this.#child.kill('SIGSTOP');
  }

  thaw() {
    this.#child.kill('SIGCONT');
  }

  /** Runs an operation as an account, or as the local manager. */
  async ask(query, variables = {}, account = null) {
    const answer = await fetch(`${this.base}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(account && { 'watchfloor-actor': account }) },
      body: JSON.stringify({ query, variables }),
    });
    const { data, errors } = await answer.json();
    if (errors) throw new Error(`${query} is refused: ${JSON.stringify(errors)}`);
    return data;
  }

  /** Returns all incidents of a filter, by id. */
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

/** Waits until `reached` returns true. Any other result goes into the error of a missed deadline. */
export async function until(what, reached, ms = Number(process.env.STEP_MS ?? 15_000)) {
  const deadline = Date.now() + ms;
  for (;;) {
    const seen = await reached();
    if (seen === true) return;
    if (Date.now() > deadline) throw new Error(`not in time: ${what}; seen: ${JSON.stringify(seen)}`);
    await new Promise((go) => setTimeout(go, 20));
  }
}

/** Returns a generator of random numbers, which are identical in each run with an equal seed. */
export function dice(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
