// The colours and fonts of the editors. Monaco must know them before GraphiQL creates the first editor.
export const EDITOR_THEMES = { dark: 'watchfloor-dark', light: 'graphiql-LIGHT' };

/** GraphiQL names a web font. These fonts are on the machine already, so the page loads none. */
const FONT_FAMILY = 'ui-monospace, "SF Mono", "Cascadia Code", Menlo, Consolas, "DejaVu Sans Mono", monospace';
const FONT_SIZE_PX = 13.5;

export async function prepareMonaco(): Promise<void> {
  const monaco = await import('monaco-graphql/esm/monaco-editor.js');
  monaco.editor.defineTheme(EDITOR_THEMES.dark, {
    base: 'vs-dark',
    inherit: true,
    rules: [
      { token: 'comment', foreground: '6b7a90', fontStyle: 'italic' },
      { token: 'keyword', foreground: '38d0b4' },
      { token: 'key.identifier', foreground: 'd7e1f0' },
      { token: 'type.identifier', foreground: 'ffb454' },
      { token: 'argument.identifier', foreground: '8ab4ff' },
      { token: 'string', foreground: 'f2c98a' },
      { token: 'string.key.json', foreground: '8ab4ff' },
      { token: 'string.value.json', foreground: 'e5d2b0' },
      { token: 'number', foreground: 'c8a6ff' },
    ],
    colors: {
      'editor.background': '#00000000',
      'editor.foreground': '#d7e1f0',
      'editorLineNumber.foreground': '#3c4a60',
      'editorLineNumber.activeForeground': '#8393ab',
      'editor.selectionBackground': '#2b4a6e99',
      'editorCursor.foreground': '#38d0b4',
      'editorHoverWidget.background': '#131c2b',
      'editorSuggestWidget.background': '#131c2b',
      'editorSuggestWidget.selectedBackground': '#38d0b422',
      'editorSuggestWidget.highlightForeground': '#38d0b4',
      'editorWidget.background': '#131c2b',
      'quickInput.background': '#131c2b',
      'menu.background': '#131c2b',
      'input.background': '#0b1220',
      'list.hoverBackground': '#38d0b41a',
      'scrollbar.shadow': '#00000000',
      focusBorder: '#38d0b4',
    },
  });
  monaco.editor.onDidCreateEditor((editor) => {
    editor.updateOptions({ fontFamily: FONT_FAMILY, fontSize: FONT_SIZE_PX, lineHeight: 1.55, wordWrap: 'on' });
  });
}
