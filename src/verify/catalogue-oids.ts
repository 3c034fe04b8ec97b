/** Fixed oids of system catalogues, as pg_dump names them for its entries (PostgreSQL sources, catalog/pg_*.h). */
export const PG_TYPE = 1247;
export const PG_PROC = 1255;
export const PG_CLASS = 1259;
export const PG_ATTRDEF = 2604;
export const PG_CONSTRAINT = 2606;
export const PG_REWRITE = 2618;
export const PG_TRIGGER = 2620;
export const PG_POLICY = 3256;
export const PG_STATISTIC_EXT = 3381;
