/** Checks what a worker says against the types of its messages: it may say anything. */

/** Whether a value is of a type. */
export type Check<T> = (value: unknown) => value is T

interface Optional<T> {
	optional: Check<T>
}

/** A check for each field of a type; those that may be missing are marked as such. */
type Fields<T> = {
	[Name in keyof T]-?: object extends Pick<T, Name> ? Optional<Required<T>[Name]> : Check<T[Name]>
}

/** The fields of each kind of message, beside `type`. */
type Kinds<Message extends {type: string}> = {
	[Type in Message['type']]: Fields<Omit<Extract<Message, {type: Type}>, 'type'>>
}

export const text: Check<string> = value => typeof value === 'string'
export const truth: Check<boolean> = value => typeof value === 'boolean'
/** How many, and other numbers that are whole and not negative. */
export const count: Check<number> = (value): value is number =>
	Number.isSafeInteger(value) && Number(value) >= 0

export function oneOf<const Text extends string>(...texts: readonly Text[]): Check<Text> {
	return (value): value is Text => texts.some(known => known === value)
}

export function anyOf<One, Other>(one: Check<One>, other: Check<Other>): Check<One | Other> {
	return (value): value is One | Other => one(value) || other(value)
}

export function optional<T>(check: Check<T>): Optional<T> {
	return {optional: check}
}

/** An object with these fields and no others. */
export function shape<T>(fields: Fields<T>): Check<T> {
	return (value): value is T => isObject(value) && wrongField(value, fields) === undefined
}

/**
 * @param kinds what messages there are
 * @returns a function that returns what it is given where that is one of them; else it throws an Error
 */
export function messageReader<Message extends {type: string}>(
	kinds: Kinds<Message>
): (value: unknown) => Message {
	const known = new Map(Object.entries<object>(kinds))
	return value => {
		if (!isObject(value)) throw new Error('a message is no object')
		const {type, ...rest} = value
		const fields = typeof type === 'string' ? known.get(type) : undefined
		if (!fields) throw new Error('a message is of no known type')
		const wrong = wrongField(rest, fields)
		if (wrong !== undefined) throw new Error(`the message ${String(type)} is malformed: ${wrong}`)
		return value as Message
	}
}

function isObject(value: unknown): value is Record<string, unknown> {
	return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** @returns in words, undefined where all are right; names that are not ours are not repeated */
function wrongField(value: Record<string, unknown>, fields: object): string | undefined {
	const checks = new Map<string, Check<unknown> | Optional<unknown>>(Object.entries(fields))
	for (const [name, check] of checks) {
		if (!Object.hasOwn(value, name)) {
			if ('optional' in check) continue
			return `it lacks ${name}`
		}
		const isRight = 'optional' in check ? check.optional : check
		if (!isRight(value[name])) return `${name} is of another type`
	}
	return Object.keys(value).some(name => !checks.has(name)) ? 'it has another field' : undefined
}
