/** Colours for code: the common languages, loaded when the first code is there. */

import bash from "highlight.js/lib/languages/bash";
import c from "highlight.js/lib/languages/c";
import cpp from "highlight.js/lib/languages/cpp";
import css from "highlight.js/lib/languages/css";
import diff from "highlight.js/lib/languages/diff";
import go from "highlight.js/lib/languages/go";
import java from "highlight.js/lib/languages/java";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";
import { createLowlight } from "lowlight";
import { type ComponentChild, h } from "preact";

const known = { bash, c, cpp, css, diff, go, java, javascript, json, python, rust, sql, typescript, xml, yaml };
const lowlight = createLowlight(known);
type Nodes = ReturnType<typeof lowlight.highlight>["children"];

/** `code` as elements; null for a language that is not known. */
export function highlight(language: string, code: string): ComponentChild[] | null {
  if (!lowlight.registered(language)) return null;
  return elements(lowlight.highlight(language, code).children);
}

function elements(nodes: Nodes): ComponentChild[] {
  return nodes.map((node) => {
    if (node.type === "text") return node.value;
    if (node.type !== "element") return null;
    const { className } = node.properties;
    return h("span", { class: Array.isArray(className) ? className.join(" ") : "" }, elements(node.children));
  });
}
