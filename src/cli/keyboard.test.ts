import { expect, test } from 'vitest';
import { typeKeys } from './keyboard.ts';

test.each([
  ['', 'cut', { text: 'cut', lines: [], interrupted: false }],
  ['cut', 'over\r', { text: '', lines: ['cutover'], interrupted: false }],
  ['cutx', '\u007fo', { text: 'cuto', lines: [], interrupted: false }],
  ['cu', '\u001b[D\u001b[1;5Ct', { text: 'cut', lines: [], interrupted: false }],
  ['anything', '\u0015ok\n', { text: '', lines: ['ok'], interrupted: false }],
  ['half', 'way\u0003rest', { text: '', lines: [], interrupted: true }],
  ['', 'resume\nx\nrest', { text: 'rest', lines: ['resume', 'x'], interrupted: false }],
  ['', 'ü\u0000a', { text: 'a', lines: [], interrupted: false }],
  ['', 'x'.repeat(500), { text: 'x'.repeat(40), lines: [], interrupted: false }],
])('%j and then %j', (before, keys, after) => {
  expect(typeKeys(before, keys)).toEqual(after);
});
