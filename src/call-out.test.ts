import { expect, test } from 'vitest';
import { maskSecrets } from './call-out.ts';

const password = 'p/ss:w@rd %';

test('every spelling of a secret is masked', () => {
  const printed = `a ${password} b ${encodeURIComponent(password)} c ${Buffer.from(password).toString('base64')} d other`;
  expect(maskSecrets(printed, [password, 'other'])).toBe('a *** b *** c *** d ***');
  expect(maskSecrets('nothing', [null, ''])).toBe('nothing');
  const odd = `it's "x\\y"`;
  const spelled = `${JSON.stringify({ odd })} '${odd.replaceAll("'", "''")}' ${Buffer.from(odd).toString('base64url')}`;
  expect(maskSecrets(spelled, [odd])).toBe(`{"odd":"***"} '***' ***`);
});
