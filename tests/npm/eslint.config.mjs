// The rules of graphql-eslint for schema.graphql: its sets schema-recommended and schema-relay. Each rule that is not
// taken as it is has its reason here.

import { fileURLToPath } from 'node:url';
import graphql from '@graphql-eslint/eslint-plugin';

const schema = fileURLToPath(new URL('../../schema.graphql', import.meta.url));

export default [
  {
    files: ['**/*.graphql'],
    languageOptions: { parser: graphql.parser, parserOptions: { graphQLConfig: { schema } } },
    plugins: { '@graphql-eslint': graphql },
    rules: {
      ...graphql.configs['flat/schema-recommended'].rules,
      ...graphql.configs['flat/schema-relay'].rules,
      // `Resync.resyncReason` cannot be `reason`: one selection holds it beside `QueueLeft.reason`, which has another
      // type. The rule has no option for a single field.
      '@graphql-eslint/no-typename-prefix': 'off',
      // An object has an id if and only if `node` finds it. Entries of the log, deltas, counts and payloads are values.
      // A test of tests/it/schema.rs checks that every object with an id is a `Node`.
      '@graphql-eslint/strict-id-in-types': 'off',
      '@graphql-eslint/relay-edge-types': [
        'error',
        {
          withEdgeSuffix: true,
          // Pages also list values: changes of a log, items of a job, texts of a comment.
          shouldImplementNode: false,
          // A connection also has `nodes`, and a short list with a bound is a plain list.
          listTypeCanWrapOnlyEdgeType: false,
        },
      ],
    },
  },
];
