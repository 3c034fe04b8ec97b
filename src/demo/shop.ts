import type { Session } from '../postgres/session.ts';
import { shopLogic } from './shop-logic.ts';
import { shopRows } from './shop-rows.ts';
import { shopSchema } from './shop-schema.ts';

/** Cluster-wide roles the shop grants to; the target needs them too. */
export const shopRoles = ['shop_app', 'shop_report'] as const;

export async function createShopRoles(session: Session): Promise<void> {
  for (const role of shopRoles) await session.run(`CREATE ROLE ${role} NOLOGIN`);
}

/**
 * Fills an empty database with a shop of about a million rows, the same on every machine; takes ten to twenty seconds.
 * `onStep` hears what comes next.
 */
export async function fillShop(session: Session, onStep: (label: string) => void): Promise<void> {
  onStep('tables and types');
  await session.run(shopSchema);
  for (const step of shopRows) {
    onStep(step.label);
    await session.run(step.sql);
  }
  onStep('indexes, foreign keys, functions, triggers and views');
  await session.run(shopLogic);
}
