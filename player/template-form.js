/**
 * @typedef {object} Parameter What the server says of a template's parameter.
 * @property {string} name
 * @property {string} [type] `integer`, `number` or `choice`; anything else is edited as text
 * @property {number} [minimum]
 * @property {number} [maximum]
 * @property {string[]} [choices]
 * @property {string | number} [default]
 * @property {string} [text] in English
 *
 * @typedef {object} Template
 * @property {string} name
 * @property {string} [title]
 * @property {Parameter[]} [parameters]
 * @property {string} [output] caps of what it makes, as `image/jpeg`
 * @property {{parameter: string, lowest: number}[]} [adaptive] what the server lowers for a slow link, if it is asked to
 * @property {boolean} [available] false where the server's host cannot run it
 * @property {string} [unavailable] why not
 * @property {string} [error] what is wrong with its file
 */

/** What the server takes where no template is named. A camera of its configuration may have another. */
const usualTemplate = 'jpeg'
/** A server that is asked for the first time has to find out what its host can run; a small one that is busy takes seconds for that. */
const listWithinMs = 20_000

/** The choice of a template and the controls for its parameters, as the server's list of templates describes them. */
export class TemplateForm {
	#select
	#box
	#texts
	/** @type {Template[] | null} null while there is no list */
	#templates = null
	/** @type {Promise<boolean> | null} */
	#loading = null
	/** What was asked for last, which may come before the list does. */
	#wanted = {pipeline: '', parameters: {}}
	/** The one whose parameters are offered while none is chosen. @type {Template | undefined} */
	#usual
	/** What the templates that are offered make. */
	#output = /^image\/jpeg/

	/**
	 * @param {object} parts
	 * @param {HTMLSelectElement} parts.select of the template
	 * @param {HTMLElement} parts.box takes the controls for the parameters
	 * @param {import('./texts.js').Texts} parts.texts
	 */
	constructor({select, box, texts}) {
		this.#select = select
		this.#box = box
		this.#texts = texts
		select.addEventListener('change', () => {
			this.#showParameters({})
		})
		this.fill(this.#wanted)
	}

	get loaded() {
		return this.#templates !== null
	}

	/** @param {Template} template @returns {HTMLOptionElement} one that cannot run is shown, and cannot be chosen */
	#option({name, title = name, available = true, unavailable, error = ''}) {
		const label = available ? title : this.#texts.text('unavailable')
		const option = new window.Option(label === name ? name : `${name}: ${label}`, name)
		option.disabled = !available
		option.title = unavailable ?? error
		return option
	}

	/**
	 * Loads the list, once; what was filled in stays.
	 * @param {string | URL} address of `/pipelines`
	 * @returns {Promise<boolean>} whether there is a list
	 */
	async load(address) {
		if (this.#templates) return true
		this.#loading ??= this.#load(address)
		const loaded = await this.#loading
		this.#loading = null
		return loaded
	}

	/** @param {string | URL} address */
	async #load(address) {
		try {
			const answer = await fetch(address, {
				cache: 'no-store',
				signal: AbortSignal.timeout(listWithinMs)
			})
			const {pipelines} = await answer.json()
			const templates = pipelines.filter(template => typeof template?.name === 'string')
			if (!answer.ok || templates.length === 0) return false
			this.#templates = templates
		} catch {
			return false
		}
		this.fill(this.#wanted)
		return true
	}

	/**
	 * Shows this template and these parameters; those that are not named get their defaults.
	 * @param {{pipeline: string, parameters: Record<string, string>}} wanted
	 */
	fill(wanted) {
		this.#wanted = wanted
		// A template that could not be read does not say what it makes.
		const offered = (this.#templates ?? []).filter(
			({output}) => output === undefined || this.#output.test(output)
		)
		this.#usual = offered.find(({name}) => name === usualTemplate) ?? offered[0]
		const options = [
			new window.Option(this.#texts.text('default_template'), ''),
			...offered.map(template => this.#option(template))
		]
		const chosen = wanted.pipeline
		// A link may name a template that the list lacks: the form shows what was asked for, and the server says what it thinks of it.
		if (!options.some(option => option.value === chosen))
			options.push(new window.Option(chosen, chosen))
		this.#select.replaceChildren(...options)
		this.#select.value = chosen
		this.#showParameters(wanted.parameters)
	}

	/** Offers the templates that make this. @param {RegExp} output as `image/jpeg` */
	limit(output) {
		if (String(output) === String(this.#output)) return
		this.#output = output
		this.fill({pipeline: '', parameters: {}})
	}

	/** @returns {{pipeline: string, parameters: Record<string, string>}} what is chosen; parameters at their defaults are left out */
	read() {
		const pipeline = this.#select.value
		const template = this.#templateNamed(pipeline)
		// Without a description there are no controls, but a link may have brought parameters.
		if (!template)
			return {
				pipeline,
				parameters: pipeline === this.#wanted.pipeline ? this.#wanted.parameters : {}
			}
		const parameters = {}
		for (const parameter of parametersOf(template)) {
			const value = this.#control(parameter).value.trim()
			if (value !== '' && !isDefault(parameter, value)) parameters[parameter.name] = value
		}
		if (this.#box.querySelector('#parameter-adaptive')?.checked) parameters.adaptive = 'on'
		return {pipeline, parameters}
	}

	/** @returns {boolean} whether there is any parameter to set */
	get hasParameters() {
		return this.#box.childElementCount > 0
	}

	/** @param {string} name empty for the server's default */
	#templateNamed(name) {
		return name === '' ? this.#usual : this.#templates?.find(template => template.name === name)
	}

	/** @param {Parameter} parameter @returns {HTMLInputElement | HTMLSelectElement} */
	#control({name}) {
		return this.#box.querySelector(`[name="${window.CSS.escape(name)}"]`)
	}

	/** @param {Record<string, string>} values */
	#showParameters(values) {
		const template = this.#templateNamed(this.#select.value)
		const fields = parametersOf(template).map(parameter =>
			this.#field(parameter, values[parameter.name] ?? String(parameter.default ?? ''))
		)
		const rules = template?.adaptive ?? []
		if (rules.length > 0) fields.push(this.#adaptiveField(rules, values.adaptive === 'on'))
		this.#box.replaceChildren(...fields)
		this.#box.dispatchEvent(new window.Event('parameters'))
	}

	/** @param {Parameter} parameter @param {string} value */
	#field(parameter, value) {
		const field = element('div', {className: 'field'})
		const id = `parameter-${parameter.name}`
		const label = element('label', {
			htmlFor: id,
			textContent: this.#texts.text(`label_${parameter.name}`) || parameter.name
		})
		const control =
			parameter.type === 'choice' ? this.#choice(parameter, value) : entry(parameter, value)
		control.id = id
		control.name = parameter.name
		// The controls stand beside the form that they belong to.
		control.setAttribute('form', this.#select.form?.id ?? '')
		const hint = element('p', {className: 'note', id: `${id}-note`})
		hint.append(...this.#hint(parameter))
		control.setAttribute('aria-describedby', hint.id)
		field.append(label, control, hint)
		return field
	}

	/** @param {{parameter: string, lowest: number}[]} rules @param {boolean} checked */
	#adaptiveField(rules, checked) {
		const {text} = this.#texts
		const id = 'parameter-adaptive'
		const list = rules
			.map(({parameter, lowest}) =>
				text('adaptive_lowest', {name: text(`label_${parameter}`) || parameter, lowest})
			)
			.join(text('list_separator'))
		const control = element('input', {type: 'checkbox', id, checked})
		control.setAttribute('form', this.#select.form?.id ?? '')
		control.setAttribute('aria-describedby', `${id}-note`)
		const label = element('label', {htmlFor: id})
		label.append(control, text('label_adaptive'))
		const field = element('div', {className: 'field check'})
		field.append(
			label,
			element('p', {
				className: 'note',
				id: `${id}-note`,
				textContent: text('hint_adaptive', {list})
			})
		)
		return field
	}

	/** @param {Parameter} parameter @param {string} value */
	#choice(parameter, value) {
		const select = element('select', {})
		// A value that is no choice is shown all the same, so that the form tells what was asked for.
		const values = new Set([...(parameter.choices ?? []).map(String), value])
		select.append(
			...[...values].map(
				choice =>
					new window.Option(
						isDefault(parameter, choice)
							? this.#texts.text('choice_default', {value: choice})
							: choice,
						choice
					)
			)
		)
		select.value = value
		return select
	}

	/** @param {Parameter} parameter @returns {Node[]} */
	#hint(parameter) {
		const {minimum, maximum} = parameter
		const key =
			minimum === undefined
				? maximum === undefined
					? ''
					: 'range_to'
				: maximum === undefined
					? 'range_from'
					: 'range'
		const ownText = this.#texts.text(`hint_${parameter.name}`)
		const facts = [
			parameter.type === 'choice' ? '' : this.#texts.text(key, {minimum, maximum}),
			parameter.type === 'choice' || parameter.default === undefined
				? ''
				: this.#texts.text('default_value', {value: parameter.default})
		]
			.filter(fact => fact !== '')
			.join(' · ')
		// The server's texts are English: a screen reader on a Chinese page has to know.
		const about = element(
			'span',
			ownText === '' ? {textContent: parameter.text ?? '', lang: 'en'} : {textContent: ownText}
		)
		return [element('span', {textContent: facts}), about].filter(part => part.textContent !== '')
	}
}

/** @param {Template | undefined} template @returns {Parameter[]} */
function parametersOf(template) {
	return Array.isArray(template?.parameters)
		? template.parameters.filter(parameter => typeof parameter?.name === 'string')
		: []
}

/** @param {Parameter} parameter @param {string} value */
function isDefault(parameter, value) {
	if (parameter.default === undefined) return false
	return parameter.type === 'choice'
		? value === String(parameter.default)
		: Number(value) === Number(parameter.default)
}

/** @param {Parameter} parameter @param {string} value */
function entry({type, minimum, maximum}, value) {
	const input = element('input', {type: 'text', autocomplete: 'off'})
	if (type === 'integer' || type === 'number') {
		input.type = 'number'
		input.step = type === 'integer' ? '1' : 'any'
		if (minimum !== undefined) input.min = String(minimum)
		if (maximum !== undefined) input.max = String(maximum)
	}
	input.value = value
	return input
}

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Partial<HTMLElementTagNameMap[Tag]>} properties
 */
function element(tag, properties) {
	return Object.assign(document.createElement(tag), properties)
}
