/** Where things are, whatever directory the run was started from. */
import path from 'node:path'

/** The repository. */
export const root = path.dirname(import.meta.dirname)
