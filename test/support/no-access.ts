import type { ApiManager } from '../../src/server/api-manager.ts';

const never = (): never => {
  throw new Error("this manager knows no tokens but the agent's own");
};

/** For managers that are played: the agent's own token lets in, and nothing is written down. */
export const noAccess: ApiManager['access'] = {
  bearerOf: () => Promise.resolve(null),
  stillHolding: () => Promise.resolve(new Set()),
  record: () => Promise.resolve(),
  createToken: never,
  tokens: never,
  revokeToken: never,
  share: never,
  shares: never,
  revokeShare: never,
  audit: never,
};
