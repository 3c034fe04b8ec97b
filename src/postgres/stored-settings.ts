import { quoteIdent, quoteLiteral } from './quote.ts';

/** Parameters whose value is a list of identifiers, stored quoted already (GUC_LIST_QUOTE in the server's source). */
const listParameters: ReadonlySet<string> = new Set([
  'search_path',
  'temp_tablespaces',
  'local_preload_libraries',
  'session_preload_libraries',
  'shared_preload_libraries',
  'unix_socket_directories',
]);

/** Name of the parameter in one `name=value` of pg_db_role_setting. */
export function settingName(setting: string): string {
  return setting.slice(0, setting.indexOf('='));
}

/** `SET name TO value` for one `name=value` of pg_db_role_setting, as ALTER DATABASE and ALTER ROLE take it. Pure. */
export function settingClause(setting: string): string {
  const name = settingName(setting);
  const value = setting.slice(name.length + 1);
  const parameter = name.split('.').map(quoteIdent).join('.');
  return `SET ${parameter} TO ${listParameters.has(name.toLowerCase()) ? value || "''" : quoteLiteral(value)}`;
}

/** One `name=value` of pg_db_role_setting, of the values that `SET name TO a, b` has. Pure. */
export function storedSetting(name: string, values: readonly string[]): string {
  const isList = listParameters.has(name.toLowerCase());
  return `${name}=${isList ? values.map((value) => (value === '' ? '' : quoteIdent(value))).join(', ') : values.join(', ')}`;
}
