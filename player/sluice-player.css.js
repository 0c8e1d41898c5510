/** The element's style. A constructed sheet needs no leave of a page's Content-Security-Policy. */
export const style = new window.CSSStyleSheet()

style.replaceSync(`
:host {
	display: block;
	position: relative;
	aspect-ratio: 16 / 9;
	overflow: hidden;
	container-type: size;
	background: #0c0e10;
	color: #e7eaee;
	font: 400 .875rem/1.4 system-ui, -apple-system, 'Segoe UI', Roboto, 'PingFang SC', 'Microsoft YaHei', 'Noto Sans CJK SC', 'WenQuanYi Micro Hei', sans-serif;
	text-align: start;
}

:host([hidden]), [hidden] {
	display: none !important;
}

:host(:fullscreen) {
	width: 100%;
	height: 100%;
	aspect-ratio: auto;
}

*, ::before, ::after {
	box-sizing: border-box;
}

p, dl, dd {
	margin: 0;
}

video, canvas {
	position: absolute;
	inset: 0;
	width: 100%;
	height: 100%;
	object-fit: contain;
}

/* What is not live must not look as if it were. */
.stale :is(video, canvas) {
	filter: grayscale(1) brightness(.45);
}

.state {
	position: absolute;
	top: .5rem;
	left: .5rem;
	display: flex;
	align-items: center;
	gap: .4rem;
	max-width: calc(100% - 1rem);
	padding: .15rem .6rem;
	border-radius: 1rem;
	background: rgb(0 0 0 / .65);
	font-size: .8125rem;
	font-weight: 600;
}

/* The state is said in words too; the dot's colour is for a glance. */
.state::before {
	content: '';
	flex: none;
	width: .6rem;
	height: .6rem;
	border: 2px solid #9aa4af;
	border-radius: 50%;
}

.live .state::before {
	border-color: #5fd08a;
	background: #5fd08a;
}

:is(.loading, .waiting, .reconnecting) .state::before {
	border-color: #efb558;
}

.failed .state::before {
	border-color: #ff8f85;
	background: #ff8f85;
}

.message {
	position: absolute;
	inset: 0;
	display: grid;
	place-content: center;
	justify-items: center;
	gap: .5rem;
	padding: 2.25rem 1rem;
	text-align: center;
	/* The buttons under it stay within reach. */
	pointer-events: none;
}

.message p {
	max-width: 34rem;
	text-shadow: 0 1px 3px #000;
}

.title {
	font-size: 1rem;
	font-weight: 600;
}

.age, .countdown {
	color: #c6cdd5;
	font-variant-numeric: tabular-nums;
}

.message button {
	pointer-events: auto;
	min-height: 2.5rem;
	padding: .3rem 1rem;
}

.spinner {
	width: 2rem;
	height: 2rem;
	border: 3px solid rgb(255 255 255 / .25);
	border-top-color: #fff;
	border-radius: 50%;
	animation: turn 1s linear infinite;
}

@keyframes turn {
	to { rotate: 1turn; }
}

button {
	border: 1px solid rgb(255 255 255 / .55);
	border-radius: .4rem;
	background: rgb(0 0 0 / .65);
	color: #fff;
	font: inherit;
	font-weight: 600;
	cursor: pointer;
}

button:hover, button[aria-pressed='true'] {
	background: #fff;
	color: #0c0e10;
}

button:focus-visible {
	outline: 3px solid #6db3f8;
	outline-offset: 2px;
}

.controls {
	position: absolute;
	inset: auto 0 0;
	display: flex;
	justify-content: end;
	gap: .4rem;
	padding: 1.5rem .5rem .5rem;
	background: linear-gradient(transparent, rgb(0 0 0 / .6));
}

.controls button {
	display: grid;
	place-items: center;
	width: 2.5rem;
	height: 2.5rem;
	padding: 0;
	border-color: transparent;
	background: rgb(0 0 0 / .5);
}

.controls button:is(:hover, [aria-pressed='true']) {
	background: #fff;
}

svg {
	width: 1.25rem;
	height: 1.25rem;
	fill: none;
	stroke: currentcolor;
	stroke-width: 2;
	stroke-linecap: round;
	stroke-linejoin: round;
}

/* Where there is a pointer, the controls come with it. */
@media (hover: hover) {
	.controls {
		opacity: 0;
		transition: opacity .15s;
	}

	:host(:hover) .controls, .controls:focus-within, .figures:not([hidden]) ~ .controls {
		opacity: 1;
	}
}

.figures {
	position: absolute;
	top: 2.5rem;
	left: .5rem;
	display: grid;
	grid-template-columns: auto auto;
	gap: .1rem .75rem;
	max-width: calc(100% - 1rem);
	padding: .4rem .6rem;
	border-radius: .4rem;
	background: rgb(0 0 0 / .7);
	font-size: .8125rem;
	font-variant-numeric: tabular-nums;
}

.figures div {
	display: contents;
}

dt {
	color: #b6bec8;
}

/* A tile of a wall has room for little. */
@container (max-width: 22rem) or (max-height: 12rem) {
	.title {
		font-size: .8125rem;
	}

	.message {
		gap: .25rem;
		padding: 1.9rem .5rem .25rem;
	}

	.message button, .spinner {
		display: none;
	}

	.state {
		top: .25rem;
		left: .25rem;
		font-size: .75rem;
	}

	.controls button {
		width: 2rem;
		height: 2rem;
	}
}

@container (max-height: 7rem) {
	.age, .countdown {
		display: none;
	}
}

@media (prefers-reduced-motion: reduce) {
	.spinner {
		animation-duration: 4s;
	}

	.controls {
		transition: none;
	}
}

@media (forced-colors: active) {
	.state::before {
		forced-color-adjust: none;
	}
}
`)
