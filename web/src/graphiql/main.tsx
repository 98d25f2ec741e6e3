// Opens GraphiQL on this server's /graphql, with the repository's examples as its first tabs.
import './workers';
import 'graphiql/style.css';
import { GraphiQL, HISTORY_PLUGIN } from 'graphiql';
import { createRoot } from 'react-dom/client';
import { examples } from './examples';
import { fetcher } from './fetcher';
import { EXAMPLES_PLUGIN } from './plugin';
import { TapeView } from './tape';
import { EDITOR_THEMES, prepareMonaco } from './theme';

/** Where GraphiQL keeps its tabs. While it is empty the examples are shown, and the first one's variables must be handed over apart. */
const STORED_TABS = 'graphiql:tabState';

const PLUGINS = [EXAMPLES_PLUGIN, HISTORY_PLUGIN];
const TABS = examples.map(({ query, variables }) => ({ query, variables }));

function Page() {
  const firstVisit = localStorage.getItem(STORED_TABS) === null;
  const firstVariables = firstVisit ? examples[0]?.variables : null;
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

const root = document.getElementById('root');
if (root === null) throw new Error('graphiql.html has no #root');
await prepareMonaco();
createRoot(root).render(<Page />);
