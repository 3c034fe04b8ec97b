import { livingAgents } from '../store/agent-queries.ts';
import { Store } from '../store/store.ts';

export interface KeyRotation {
  /** Jobs whose passwords were sealed anew. */
  readonly jobs: number;
  /** Where the new key stands; null: it is the one that was given. */
  readonly file: string | null;
  /** Agents that go on with the old key until they are started again, as people name them. */
  readonly others: readonly string[];
}

/**
 * Seals all passwords of a state with another key, in one transaction. `newKey` null: a random one takes the place of the key file.
 * @throws PgsluiceError as Store.open and Store.changeKey do.
 */
export async function rotateKey(input: {
  readonly state: string;
  readonly secretKey: string | null;
  readonly newKey: string | null;
}): Promise<KeyRotation> {
  const store = await Store.open({ state: input.state, secretKey: input.secretKey, role: 'foreground' });
  try {
    const { jobs, file } = await store.changeKey(input.newKey);
    const others = await livingAgents(store.db, store.agentId);
    await store.vacuum();
    return { jobs, file, others };
  } finally {
    await store.close();
  }
}
