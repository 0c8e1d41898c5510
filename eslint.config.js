import js from '@eslint/js'
import {createNodeResolver, importX} from 'eslint-plugin-import-x'
import tseslint from 'typescript-eslint'

/**
 * The folders of src/, each of which imports only from those before it, whatever stands in one entry
 * not from each other. ARCHITECTURE.md says what is in them.
 */
const rooms = [
	['base'],
	['media'],
	['workers', 'cameras'],
	['pipeline'],
	['templates'],
	['streams'],
	['viewers'],
	['webrtc'],
	['config'],
	['http'],
	['cli']
]

const upwards = rooms.slice(0, -1).flatMap((names, floor) =>
	names.map(name => ({
		target: `./src/${name}`,
		from: rooms
			.slice(floor)
			.flat()
			.filter(other => other !== name)
			.map(other => `./src/${other}`),
		message: 'Folders of src/ import one way only: see ARCHITECTURE.md.'
	}))
)

export default tseslint.config(
	{ignores: ['dist', 'dist-test', 'node_modules']},
	js.configs.recommended,
	{
		files: ['**/*.ts'],
		extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
		languageOptions: {
			parserOptions: {
				project: ['./tsconfig.json', './test/tsconfig.json'],
				tsconfigRootDir: import.meta.dirname
			}
		},
		plugins: {'import-x': importX},
		settings: {
			'import-x/resolver-next': [
				createNodeResolver({extensions: ['.ts', '.js'], extensionAlias: {'.js': ['.ts', '.js']}})
			]
		},
		rules: {
			'import-x/no-cycle': 'error',
			'import-x/no-restricted-paths': ['error', {basePath: import.meta.dirname, zones: upwards}],
			'@typescript-eslint/restrict-template-expressions': ['error', {allowNumber: true}],
			'@typescript-eslint/consistent-type-definitions': ['error', 'interface'],
			'no-restricted-imports': [
				'error',
				{
					paths: [
						{
							name: 'gstreamer-superficial',
							message:
								'The server process loads no native code: only src/pipeline/worker-main.ts imports it.'
						},
						{
							name: 'node-datachannel',
							message:
								'The server process loads no native code: only src/webrtc/worker-main.ts imports it.'
						}
					]
				}
			]
		}
	},
	{
		files: [
			'src/pipeline/worker-main.ts',
			'src/webrtc/worker-main.ts',
			'test/support/whep-client.ts'
		],
		rules: {'no-restricted-imports': 'off'}
	},
	{
		files: ['**/*.js', '**/*.mjs'],
		languageOptions: {
			globals: {
				process: 'readonly',
				console: 'readonly',
				URL: 'readonly',
				URLSearchParams: 'readonly',
				Buffer: 'readonly',
				performance: 'readonly',
				setTimeout: 'readonly',
				clearTimeout: 'readonly',
				setInterval: 'readonly',
				clearInterval: 'readonly',
				AbortSignal: 'readonly',
				fetch: 'readonly'
			}
		}
	},
	// Some of their functions run in a page.
	{
		files: [
			'bench/browser.mjs',
			'bench/scenarios/page.mjs',
			'bench/scenarios/webrtc-page.mjs',
			'bench/scenarios/wall.mjs'
		],
		languageOptions: {
			globals: {
				window: 'readonly',
				document: 'readonly',
				RTCPeerConnection: 'readonly',
				MediaStream: 'readonly'
			}
		}
	},
	{
		files: ['player/**/*.js'],
		languageOptions: {
			globals: {
				window: 'readonly',
				document: 'readonly',
				navigator: 'readonly',
				location: 'readonly',
				localStorage: 'readonly',
				WebSocket: 'readonly',
				Blob: 'readonly',
				createImageBitmap: 'readonly',
				requestAnimationFrame: 'readonly',
				HTMLElement: 'readonly',
				URLSearchParams: 'readonly',
				history: 'readonly',
				AbortController: 'readonly',
				structuredClone: 'readonly',
				queueMicrotask: 'readonly'
			}
		}
	}
)
