/** Starts the page. */

import { App } from "./app.js";

const elements = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
new App(elements).start();
