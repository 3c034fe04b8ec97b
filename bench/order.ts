/**
 * The order in which `items` take their turn in a round (from 0): a row of a balanced Latin square (Williams, 1949). Every item comes once,
 * and in as many rounds as there are items (twice as many for an odd number) every item has followed each other one equally often, so that
 * none profits from what its predecessor leaves behind.
 */
export function orderOf<T>(items: readonly T[], round: number): T[] {
  const count = items.length;
  const order = Array.from({ length: count }, (_, at) => (at % 2 === 1 ? (at + 1) / 2 : (count - at / 2) % count))
    .map((index) => items[(index + round) % count])
    .filter((item) => item !== undefined);
  return count % 2 === 1 && round % 2 === 1 ? order.toReversed() : order;
}
