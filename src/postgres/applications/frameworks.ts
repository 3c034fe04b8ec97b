import { qualified } from '../quote.ts';

/** How a framework keeps its migrations in the database: its table, and what tells it from another's of the same name. */
export interface Framework {
  readonly name: string;
  readonly table: string;
  /** Columns it has to have, with what their type has to be where that decides. */
  readonly columns: Readonly<Record<string, 'any' | 'number' | 'text'>>;
  /** Columns that another framework of the same table has. */
  readonly without?: readonly string[];
  /** Expressions over the table `t`; each is an aggregate. `unfinished` answers text[]. */
  readonly version: string;
  readonly migrations?: string;
  readonly unfinished?: string;
}

const none = `'{}'::text[]`;
/** Whatever the database's collation, digits sort as digits. */
const newestText = (column: string): string => `max(t.${column} COLLATE "C")`;
const lastBy = (value: string, order: string, where = 'true'): string =>
  `(array_agg(${value} ORDER BY ${order}) FILTER (WHERE ${where}))[1]`;
const namesWhere = (value: string, where: string): string =>
  `COALESCE(array_agg(${value} ORDER BY ${value}) FILTER (WHERE ${where}), ${none})`;

/** The first that fits a table is its framework. Tables and columns are those of the frameworks' own sources. */
export const frameworks: readonly Framework[] = [
  {
    name: 'Phoenix/Ecto',
    table: 'schema_migrations',
    columns: { version: 'number', inserted_at: 'any' },
    version: 'max(t.version)::text',
  },
  {
    name: 'golang-migrate',
    table: 'schema_migrations',
    columns: { version: 'number', dirty: 'any' },
    version: 'max(t.version)::text',
    unfinished: namesWhere('t.version::text', 't.dirty'),
  },
  {
    name: 'Rails',
    table: 'schema_migrations',
    columns: { version: 'text' },
    without: ['dirty', 'inserted_at'],
    version: newestText('version::text'),
  },
  {
    name: 'Django',
    table: 'django_migrations',
    columns: { id: 'number', app: 'text', name: 'text', applied: 'any' },
    version: lastBy(`t.app || '.' || t.name`, 't.applied DESC, t.id DESC'),
  },
  {
    name: 'Prisma',
    table: '_prisma_migrations',
    columns: { migration_name: 'text', finished_at: 'any', rolled_back_at: 'any', started_at: 'any' },
    version: lastBy(
      't.migration_name::text',
      't.started_at DESC',
      't.finished_at IS NOT NULL AND t.rolled_back_at IS NULL',
    ),
    migrations: 'count(*) FILTER (WHERE t.finished_at IS NOT NULL AND t.rolled_back_at IS NULL)',
    unfinished: namesWhere('t.migration_name::text', 't.finished_at IS NULL AND t.rolled_back_at IS NULL'),
  },
  {
    name: 'Flyway',
    table: 'flyway_schema_history',
    columns: { installed_rank: 'number', version: 'text', success: 'any', script: 'text' },
    version: lastBy('t.version::text', 't.installed_rank DESC', 't.success AND t.version IS NOT NULL'),
    migrations: 'count(*) FILTER (WHERE t.success)',
    unfinished: namesWhere('t.script::text', 'NOT t.success'),
  },
  {
    name: 'Liquibase',
    table: 'databasechangelog',
    columns: { id: 'text', author: 'text', orderexecuted: 'number' },
    version: lastBy(`t.id || ' by ' || t.author`, 't.orderexecuted DESC'),
  },
  {
    name: 'Alembic',
    table: 'alembic_version',
    columns: { version_num: 'text' },
    // Several heads stand there until they are merged.
    version: `string_agg(t.version_num, ', ' ORDER BY t.version_num COLLATE "C")`,
  },
  {
    name: 'Laravel',
    table: 'migrations',
    columns: { id: 'number', migration: 'text', batch: 'number' },
    version: lastBy('t.migration::text', 't.id DESC'),
  },
  {
    name: 'TypeORM',
    table: 'migrations',
    columns: { id: 'number', timestamp: 'number', name: 'text' },
    version: lastBy('t.name::text', 't.timestamp DESC'),
  },
  {
    name: 'Knex',
    table: 'knex_migrations',
    columns: { id: 'number', name: 'text', batch: 'number' },
    version: lastBy('t.name::text', 't.id DESC'),
  },
  {
    name: 'Sequelize',
    table: 'SequelizeMeta',
    columns: { name: 'text' },
    version: newestText('name::text'),
  },
  {
    name: 'Drizzle',
    table: '__drizzle_migrations',
    columns: { id: 'number', hash: 'text', created_at: 'number' },
    version: lastBy('t.created_at::text', 't.created_at DESC'),
  },
  {
    name: 'Doctrine',
    table: 'doctrine_migration_versions',
    columns: { version: 'text', executed_at: 'any' },
    version: newestText('version::text'),
  },
];

/** A table that may be one of a framework, as the catalogue has it. `types` are pg_type.typcategory. */
export interface MigrationTable {
  readonly schema: string;
  readonly name: string;
  readonly columns: readonly string[];
  readonly types: readonly string[];
}

const categories = { number: 'N', text: 'S' } as const;

/** null: a table that is only called like one. Pure. */
export function frameworkOf(table: MigrationTable): Framework | null {
  const types = new Map(table.columns.map((column, i) => [column, table.types[i]]));
  const fits = (framework: Framework): boolean =>
    framework.table === table.name &&
    (framework.without ?? []).every((column) => !types.has(column)) &&
    Object.entries(framework.columns).every(([column, type]) => {
      const category = types.get(column);
      return category !== undefined && (type === 'any' || category === categories[type]);
    });
  return frameworks.find(fits) ?? null;
}

/** One statement that reads the state of all of them, in their order. Pure. */
export function stateSql(tables: readonly { readonly table: MigrationTable; readonly framework: Framework }[]): string {
  return tables
    .map(
      ({ table, framework: { version, migrations, unfinished } }, i) =>
        `SELECT ${i} AS i, ${version} AS version, ${migrations ?? 'count(*)'}::float8 AS migrations, ${unfinished ?? none} AS unfinished FROM ${qualified(table.schema, table.name)} t`,
    )
    .join('\nUNION ALL\n');
}
