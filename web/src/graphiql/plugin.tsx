// The Examples pane: opens any example in a new tab, also after its first tab was closed or changed.
import { useGraphiQL, useGraphiQLActions, type GraphiQLPlugin } from '@graphiql/react';
import { examples, type Example } from './examples';

export const EXAMPLES_PLUGIN: GraphiQLPlugin = { title: 'Examples', icon: Icon, content: Content };

function Content() {
  const { addTab, updateActiveTabValues } = useGraphiQLActions();
  const editors = useGraphiQL(({ queryEditor, variableEditor }) => ({ queryEditor, variableEditor }));
  const open = (example: Example) => {
    addTab();
    editors.queryEditor?.setValue(example.query);
    editors.variableEditor?.setValue(example.variables ?? '');
    updateActiveTabValues({ query: example.query, variables: example.variables });
  };
  return (
    <section className="examples" aria-label="Examples">
      <h2>Examples</h2>
      <ul>
        {examples.map((example) => (
          <li key={example.name}>
            <button type="button" onClick={() => open(example)}>
              <span>
                <b>{example.title}</b> <em className={`kind-${example.kind}`}>{example.kind}</em>
              </span>
              {example.about !== '' && <small>{example.about}</small>}
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Icon() {
  return (
    <svg viewBox="0 0 20 20" fill="none" stroke="currentColor" strokeWidth="1.5" strokeLinejoin="round" aria-hidden="true">
      <path d="M3 4.5h10M3 9h7M3 13.5h5" strokeLinecap="round" />
      <path d="m12 10.5 5.5 3.25L12 17z" />
    </svg>
  );
}
