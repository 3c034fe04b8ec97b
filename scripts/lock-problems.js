/**
 * What keeps a lockfile from pinning every package to its bytes, in words; empty when nothing does. Pure.
 * @param {import('./lock-problems.d.ts').Lock} lock package-lock.json
 * @param {Readonly<Record<string, unknown>>} manifest package.json
 * @returns {string[]}
 */
export function lockProblems(lock, manifest) {
  const problems = [];
  const packages = Object.entries(lock.packages ?? {}).filter(([path]) => path !== '');
  if (packages.length === 0) problems.push('the lockfile names no packages');
  for (const [path, entry] of packages) {
    const name = path.replace(/^.*node_modules\//, '');
    if (entry.link === true) problems.push(`${name} is a link to a folder`);
    if (!/^sha512-[A-Za-z0-9+/]{86}==$/.test(entry.integrity ?? '')) problems.push(`${name} has no sha512 integrity`);
    if (entry.resolved !== undefined && !entry.resolved.startsWith('https://registry.npmjs.org/'))
      problems.push(`${name} comes from ${entry.resolved}`);
    const forAll = entry.dev !== true && entry.optional !== true && entry.devOptional !== true;
    if (entry.hasInstallScript === true && forAll) problems.push(`${name} wants to run a script when it is installed`);
  }
  for (const kind of ['dependencies', 'devDependencies', 'optionalDependencies']) {
    for (const [name, version] of Object.entries(manifest[kind] ?? {})) {
      if (!/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(String(version)))
        problems.push(`${name} is not pinned: ${String(version)}`);
      const locked = lock.packages?.[`node_modules/${name}`]?.version;
      if (locked !== version) problems.push(`${name} is ${String(version)}, and ${String(locked)} in the lockfile`);
    }
  }
  return problems;
}
