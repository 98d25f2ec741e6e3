// Opens GraphiQL on /graphql of this server. Its first tabs are the examples of the repository.
import './workers';
import 'graphiql/style.css';
import { GraphiQL, HISTORY_PLUGIN } from 'graphiql';
import { createRoot } from 'react-dom/client';
import { examples } from './examples';
import { fetcher } from './fetcher';
import { EXAMPLES_PLUGIN } from './plugin';
import { TapeView } from './tape';
import { EDITOR_THEMES, prepareMonaco } from './theme';

/** The keys under which GraphiQL stores its tabs and, apart from them, the last texts of the active tab's editors. */
const STORED_TABS = 'graphiql:tabState';
const STORED_QUERY = 'graphiql:query';
const STORED_VARIABLES = 'graphiql:variables';

const PLUGINS = [EXAMPLES_PLUGIN, HISTORY_PLUGIN];
const TABS = examples.map(({ query, variables }) => ({ query, variables }));

function Page() {
  // GraphiQL opens the first of `defaultTabs` without its variables.
  const firstVariables = localStorage.getItem(STORED_TABS) === null ? examples[0]?.variables : null;
  return (
    <GraphiQL
      fetcher={fetcher}
      plugins={PLUGINS}
      defaultTheme="dark"
      editorTheme={EDITOR_THEMES}
      defaultEditorToolsVisibility="variables"
      inputValueDeprecation
      schemaDescription
      {...(TABS.length > 0 ? { defaultTabs: TABS } : {})}
      {...(firstVariables ? { initialVariables: firstVariables } : {})}
    >
      <GraphiQL.Logo>
        <a className="brand" href="/">
          Watchfloor
        </a>
      </GraphiQL.Logo>
      <GraphiQL.Footer>
        <TapeView />
      </GraphiQL.Footer>
    </GraphiQL>
  );
}

/**
 * Stores the texts of the active tab as the texts of the editors, if nobody has edited them yet. GraphiQL has then
 * stored the tabs only, and would open the active tab without its variables.
 */
function restoreUneditedTab(): void {
  const stored = localStorage.getItem(STORED_TABS);
  if (stored === null || localStorage.getItem(STORED_QUERY) !== null) return;
  try {
    const { tabs, activeTabIndex } = JSON.parse(stored) as { tabs: typeof TABS; activeTabIndex: number };
    const active = tabs[activeTabIndex];
    if (!active?.query || !active.variables) return;
    localStorage.setItem(STORED_QUERY, active.query);
    localStorage.setItem(STORED_VARIABLES, active.variables);
  } catch {
    localStorage.removeItem(STORED_TABS);
  }
}

const root = document.getElementById('root');
if (root === null) throw new Error('graphiql.html has no #root');
restoreUneditedTab();
await prepareMonaco();
createRoot(root).render(<Page />);
