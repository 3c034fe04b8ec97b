/** The SQLSTATE values that pgsluice decides on (PostgreSQL documentation, appendix A). */
export const SQLSTATE = {
  connectionException: '08000',
  connectionDoesNotExist: '08003',
  connectionFailure: '08006',
  protocolViolation: '08P01',
  featureNotSupported: '0A000',
  uniqueViolation: '23505',
  exclusionViolation: '23P01',
  activeSqlTransaction: '25001',
  readOnlySqlTransaction: '25006',
  noActiveSqlTransaction: '25P01',
  inFailedSqlTransaction: '25P02',
  idleInTransactionSessionTimeout: '25P03',
  transactionTimeout: '25P04',
  invalidSqlStatementName: '26000',
  invalidAuthorizationSpecification: '28000',
  invalidPassword: '28P01',
  invalidCatalogName: '3D000',
  invalidSchemaName: '3F000',
  serializationFailure: '40001',
  deadlockDetected: '40P01',
  insufficientPrivilege: '42501',
  duplicatePreparedStatement: '42P05',
  undefinedObject: '42704',
  duplicateDatabase: '42P04',
  duplicateObject: '42710',
  duplicateSchema: '42P06',
  duplicateFunction: '42723',
  duplicateTable: '42P07',
  undefinedTable: '42P01',
  undefinedFunction: '42883',
  undefinedFile: '58P01',
  insufficientResources: '53000',
  diskFull: '53100',
  outOfMemory: '53200',
  tooManyConnections: '53300',
  configurationLimitExceeded: '53400',
  objectNotInPrerequisiteState: '55000',
  objectInUse: '55006',
  lockNotAvailable: '55P03',
  queryCanceled: '57014',
  adminShutdown: '57P01',
  crashShutdown: '57P02',
  cannotConnectNow: '57P03',
  databaseDropped: '57P04',
  idleSessionTimeout: '57P05',
  systemError: '58000',
  ioError: '58030',
  internalError: 'XX000',
  invalidParameterValue: '22023',
} as const;

function property(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined;
}

/** The text of one field of an error as PostgreSQL sent it (protocol, 55.8), looked up along the chain of causes. */
export function serverField(
  error: unknown,
  field: 'code' | 'severity' | 'routine' | 'detail' | 'hint' | 'message' | 'schema' | 'table',
): string | null {
  const source = serverErrorOf(error);
  const value = property(source, field);
  return typeof value === 'string' ? value : null;
}

/** The error that a PostgreSQL server sent, found on `error` itself or along its causes; null when no server spoke. */
export function serverErrorOf(error: unknown): object | null {
  let current: unknown = error;
  for (let depth = 0; depth < 8 && typeof current === 'object' && current !== null; depth++) {
    const code = property(current, 'code');
    // Node's own errors and ours carry a code too (ECONNRESET, EPIPE); only a server's has a severity.
    if (typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && typeof property(current, 'severity') === 'string') {
      return current;
    }
    current = property(current, 'cause');
  }
  return null;
}

/** The SQLSTATE of an error, of its cause, or of that one's cause; null when it did not come from a server. */
export function sqlStateOf(error: unknown): string | null {
  return serverField(error, 'code');
}
