import { expect, test } from 'vitest';
import { WireBreach, WireGuard } from './wire-guard.ts';

const message = (type: string, body: Buffer, length = body.length + 4): Buffer => {
  const head = Buffer.alloc(5);
  head.write(type, 'latin1');
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, body]);
};
const request = (code: number, rest = 0): Buffer => {
  const body = Buffer.alloc(4 + rest);
  body.writeUInt32BE(code);
  return message('R', body);
};
const ready = message('Z', Buffer.from('I'));
const row = (bytes: number): Buffer => message('D', Buffer.alloc(bytes));
const code = (value: string) =>
  expect.objectContaining({ explanation: expect.objectContaining({ code: value }) as object });

/** Feeds it whole, and again cut into single bytes. */
function breach(
  chunks: readonly Buffer[],
  opened: boolean,
  input = { mayCleartext: true, answerBytes: 2000 },
): unknown {
  const results = [chunks, Array.from(Buffer.concat(chunks), (byte) => Buffer.from([byte]))].map((pieces) => {
    const guard = new WireGuard(input);
    if (opened) guard.open();
    try {
      for (const piece of pieces) guard.feed(piece);
      return null;
    } catch (error) {
      if (error instanceof WireBreach) return error;
      throw error;
    }
  });
  expect(results[0]?.explanation).toEqual(results[1]?.explanation);
  return results[0];
}

test('a log-in with SCRAM and answers of any number pass', () => {
  const logIn = [request(10, 20), request(11, 90), request(12, 60), request(0), message('S', Buffer.alloc(30)), ready];
  expect(breach(logIn, false)).toBeNull();
  const answer = [message('T', Buffer.alloc(40)), row(800), row(700), message('C', Buffer.alloc(9)), ready];
  expect(breach([...answer, ...answer, ...answer], true)).toBeNull();
});

test('one answer that is too large is a breach, by bytes or by the number of its messages', () => {
  expect(breach([row(1000), row(1000)], true)).toEqual(code('ANSWER_TOO_LARGE'));
  expect(
    breach(
      Array.from({ length: 40 }, () => message('N', Buffer.from('M\0\0'))),
      true,
    ),
  ).toEqual(code('ANSWER_TOO_LARGE'));
});

test('impossible lengths are a breach', () => {
  for (const length of [0, 3, 0x40000000, 0xffffffff]) {
    expect(breach([message('D', Buffer.alloc(0), length)], true)).toEqual(code('PROTOCOL_VIOLATION'));
    expect(breach([message('R', Buffer.alloc(4), length)], false)).toEqual(code('PROTOCOL_VIOLATION'));
  }
});

test('an error or notice that has no end is a breach, before the driver looks for it', () => {
  for (const type of ['E', 'N']) {
    for (const whole of ['\0', 'SERROR\0Mno\0\0', 'M\0\0']) {
      expect(breach([message(type, Buffer.from(whole)), ready], true)).toBeNull();
    }
    for (const torn of ['', 'SERROR', 'SERROR\0', 'SERROR\0Mno\0', 'S', 'M\0']) {
      expect(breach([message(type, Buffer.from(torn)), ready], true), torn).toEqual(code('PROTOCOL_VIOLATION'));
    }
  }
});

test('a greeting without end is a breach', () => {
  expect(breach([message('S', Buffer.alloc(0), 100_000)], false)).toEqual(code('PROTOCOL_VIOLATION'));
  const notices = Array.from({ length: 40 }, () => message('N', Buffer.alloc(30_000)));
  expect(breach(notices, false)).toEqual(code('PROTOCOL_VIOLATION'));
  const asking = Array.from({ length: 11 }, () => request(5, 4));
  expect(breach(asking, false)).toEqual(code('PROTOCOL_VIOLATION'));
  expect(breach([request(0), request(3)], false)).toEqual(code('PROTOCOL_VIOLATION'));
});

test('a password in the clear is asked for in vain where the line is open', () => {
  expect(breach([request(3)], false, { mayCleartext: false, answerBytes: 2000 })).toEqual(
    code('PASSWORD_IN_THE_CLEAR'),
  );
  expect(breach([request(3), request(0)], false)).toBeNull();
  expect(breach([request(5, 4), request(0)], false, { mayCleartext: false, answerBytes: 2000 })).toBeNull();
});
