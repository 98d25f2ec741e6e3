// Drives GraphiQL in a real browser against a running server. Every request to another machine is blocked.
//
//   node test/graphiql.mjs BASE_URL [SCREENSHOT_FOLDER]
//
// The tabs are the examples of the repository. Only one operation of this file names a field of the schema: the
// mutation that makes the awaited item. By default it creates an incident. The environment replaces it:
//
//   CHROMIUM               the browser                                   /usr/bin/chromium
//   ACTOR                  Watchfloor-Actor, over HTTP and WebSocket     none
//   MUTATION               the document of the mutation
//   MUTATION_VARIABLES     its variables as JSON; {mark} becomes a text that no earlier run used
//   EXPECT                 a text that only the awaited item contains    {mark}
//   SUBSCRIPTION_TAB       the title of the tab to run                   the first tab with a subscription
//   STEP_MS                the longest time of one step                  15000
import { strict as assert } from 'node:assert';
import { readdir, readFile } from 'node:fs/promises';
import { Browser, STEP_MS } from './browser.mjs';

const [base, folder] = process.argv.slice(2);
if (base === undefined) {
  console.error('usage: node test/graphiql.mjs BASE_URL [SCREENSHOT_FOLDER]');
  process.exit(2);
}

const { env } = process;
const MARK = `graphiql-${Date.now().toString(36)}`;
const marked = (text) => text.replaceAll('{mark}', MARK);
const EXPECT = marked(env.EXPECT ?? '{mark}');
const MUTATION = env.MUTATION ?? 'mutation ($input: CreateIncidentInput!) { createIncident(input: $input) { __typename } }';
const MUTATION_VARIABLES = JSON.parse(
  marked(env.MUTATION_VARIABLES ?? '{ "input": { "title": "Beacon to \\u202ea new domain, {mark}", "severity": "HIGH" } }'),
);
const EXAMPLES = new URL('../../examples/', import.meta.url);

const browser = await Browser.open(folder);
const shoot = (page, name) => browser.shoot(page, name);
try {
  const page = await browser.page();
  await theFirstPageShowsThatTheServerAnswers(page);
  await everyExampleHasATab(page);
  await theFirstExampleAnswers(page);
  await theEditorKnowsTheSchema(page);
  await aSubscriptionShowsAnItem(page);
  await theExamplesPaneOpensATab(page);
  browser.assertClean();
} finally {
  await browser.close();
}

async function theFirstPageShowsThatTheServerAnswers(page) {
  await page.goto(base);
  await page.locator('#health[data-state="well"]').waitFor();
  await shoot(page, '1-home');
  await page.getByRole('link', { name: 'Open GraphiQL' }).click();
  await page.waitForURL('**/graphiql');
  console.log('ok   / shows that the server answers, and leads to /graphiql');
}

async function everyExampleHasATab(page) {
  await page.locator('.graphiql-query-editor .view-line').first().waitFor();
  const names = (await readdir(EXAMPLES)).filter((name) => name.endsWith('.graphql')).sort();
  assert.ok(names.length > 0, 'examples/ is empty');

  const tabs = await storedTabs(page);
  assert.equal(await page.locator('.graphiql-tab').count(), names.length, 'one tab for each example');
  for (const [index, name] of names.entries()) {
    const text = await readFile(new URL(name, EXAMPLES), 'utf8');
    assert.equal(tabs[index].query.trim(), text.trim(), `tab ${index + 1} holds examples/${name}`);
    assert.notEqual(tabs[index].title, '<untitled>', `examples/${name} names its operation, which titles the tab`);
  }
  console.log(`ok   ${names.length} example tabs: ${tabs.map((tab) => tab.title).join(', ')}`);
}

async function theFirstExampleAnswers(page) {
  await openTab(page, 0);
  if (env.ACTOR !== undefined) await setHeaders(page, { 'Watchfloor-Actor': env.ACTOR });
  await page.locator('.graphiql-execute-button').click();
  const answer = await response(page, (text) => text.includes('"data"') || text.includes('"errors"'));
  assert.ok(!answer.includes('"errors"'), `the first example is refused: ${answer}`);
  await shoot(page, '2-query');
  console.log('ok   the first example answers with data');
}

/** Proves that the GraphQL worker runs: the editor completes text from the schema, and underlines a wrong field. */
async function theEditorKnowsTheSchema(page) {
  await page.locator('.graphiql-tab-add').click();
  await page.locator('.graphiql-query-editor .monaco-editor').click();
  await page.keyboard.type('{ ');
  await page.keyboard.press('Control+Space');
  await page.locator('.suggest-widget .monaco-list-row').first().waitFor();
  await page.waitForTimeout(300); // The list fades in: this pause serves the picture only.
  await shoot(page, '3-completion');
  await page.keyboard.press('Escape');
  await page.keyboard.type('noSuchFieldAnywhere ');
  await page.locator('.graphiql-query-editor .squiggly-error').first().waitFor();
  console.log('ok   the editor completes and checks from the schema');
  await closeLastTab(page);
}

async function aSubscriptionShowsAnItem(page) {
  const tabs = await storedTabs(page);
  const index = tabs.findIndex(({ title, query }) =>
    env.SUBSCRIPTION_TAB === undefined ? /^\s*subscription\b/m.test(query ?? '') : title === env.SUBSCRIPTION_TAB,
  );
  assert.ok(index >= 0, 'no example tab holds a subscription');
  await openTab(page, index);
  if (env.ACTOR !== undefined) await setHeaders(page, { 'Watchfloor-Actor': env.ACTOR });
  await page.locator('.graphiql-execute-button').click();
  await page.locator('.tape-live').waitFor();

  // The socket is open, but the server may not follow the log yet. A first marker of the stream shows that it does.
  await page.locator('.tape-items li').first().waitFor({ timeout: 2_000 }).catch(() => {});
  await mutate();
  await page.locator('.tape-items li', { hasText: EXPECT }).first().waitFor();
  const item = page.locator('.tape-items li', { hasText: EXPECT }).first();
  await item.locator('summary').click();
  if (env.MUTATION_VARIABLES === undefined) {
    for (const part of ['code', 'pre']) {
      const text = await item.locator(part).textContent();
      assert.ok(text.includes('Beacon to \\u202ea') && !text.includes('\u202e'), `the mark of direction is an escape: ${text}`);
    }
  }
  await shoot(page, '4-subscription');
  await page.locator('.graphiql-execute-button').click();
  await page.locator('.tape-over').waitFor();
  console.log(`ok   the subscription in tab ${index + 1} showed the item of the mutation`);
}

async function theExamplesPaneOpensATab(page) {
  const before = await page.locator('.graphiql-tab').count();
  await page.getByRole('button', { name: /Examples/ }).first().click();
  await shoot(page, '5-examples');
  await page.locator('.examples button').first().click();
  assert.equal(await page.locator('.graphiql-tab').count(), before + 1);
  await page.waitForFunction((count) => JSON.parse(localStorage['graphiql:tabState']).tabs.length === count, before + 1);
  const tabs = await storedTabs(page);
  assert.equal(tabs.at(-1).query, tabs[0].query);
  await page.getByRole('button', { name: /Documentation/ }).first().click();
  await page.locator('.graphiql-doc-explorer').waitFor();
  await shoot(page, '6-documentation');
  console.log('ok   the examples pane opens an example anew, the documentation is there');
}

async function mutate() {
  const answer = await fetch(new URL('/graphql', base), {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(env.ACTOR === undefined ? {} : { 'Watchfloor-Actor': env.ACTOR }),
    },
    body: JSON.stringify({ query: MUTATION, variables: MUTATION_VARIABLES }),
  });
  const { data, errors } = await answer.json();
  assert.ok(data && !errors, `the mutation is refused: ${JSON.stringify(errors)}`);
}

async function storedTabs(page) {
  await page.waitForFunction(() => localStorage['graphiql:tabState'] !== undefined);
  return page.evaluate(() => JSON.parse(localStorage['graphiql:tabState']).tabs);
}

async function openTab(page, index) {
  const active = page.locator('.graphiql-tab').nth(index).and(page.locator('.graphiql-tab-active'));
  // The bar of tabs can be dragged. While it scrolls, a click may start a drag, so this loop clicks again.
  for (const deadline = Date.now() + STEP_MS; ; ) {
    await page.locator('.graphiql-tab-button').nth(index).click();
    const opened = await active.waitFor({ timeout: 2_000 }).then(() => true, () => false);
    // GraphiQL reads the operation's name a moment after the text. A run at once would send the former tab's name.
    if (opened) return page.waitForTimeout(500);
    assert.ok(Date.now() < deadline, `tab ${index + 1} does not open`);
  }
}

async function closeLastTab(page) {
  const tabs = page.locator('.graphiql-tab');
  const last = (await tabs.count()) - 1;
  await tabs.nth(last).hover();
  await page.locator('.graphiql-tab-close').nth(last).click();
  // When a tab is closed, another tab becomes active. A tab that is opened before that would be left again.
  await tabs.nth(last).waitFor({ state: 'detached' });
  await page.locator('.graphiql-tab-active').waitFor();
}

async function setHeaders(page, headers) {
  await page.getByRole('button', { name: 'Headers', exact: true }).click();
  await page.locator('.graphiql-editor-tool .graphiql-editor:not(.hidden) .monaco-editor').click();
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText(JSON.stringify(headers));
  await page.getByRole('button', { name: 'Variables', exact: true }).click();
}

/**
 * Returns the text of the response pane once `done` accepts it. The pane draws visible lines only, the model has all.
 */
async function response(page, done) {
  const deadline = Date.now() + STEP_MS;
  for (;;) {
    const text = await page.evaluate(
      () => globalThis.__MONACO.editor.getModels().find((model) => model.uri.path.endsWith('response.json'))?.getValue() ?? '',
    );
    if (done(text)) return text;
    assert.ok(Date.now() < deadline, `the response pane still shows: ${text}`);
    await page.waitForTimeout(100);
  }
}
