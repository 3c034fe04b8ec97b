/** What no answer of the agent may be used for: framed, sniffed, or as a page that loads anything. Pages bring their own policy. */
export const baseHeaders: Readonly<Record<string, string>> = {
  'content-security-policy': "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-frame-options': 'DENY',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
};

/** A year: whoever came by TLS once is not led back to plain HTTP (RFC 6797). */
export const transportHeaders: Readonly<Record<string, string>> = {
  'strict-transport-security': 'max-age=31536000',
};

export const headersFor = (secure: boolean): Readonly<Record<string, string>> =>
  secure ? { ...baseHeaders, ...transportHeaders } : baseHeaders;
