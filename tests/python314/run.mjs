// Run pytest inside Pyodide: node run.mjs SITE-PACKAGES [arguments of pytest]
//
// The repository and the given site-packages are mounted, not installed. C extensions that were
// built for another Python are not found there, so PyMongo works with its Python code.

import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { loadPyodide } from "pyodide";

const [packages, ...given] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));

const python = await loadPyodide();
python.mountNodeFS("/packages", packages);
python.mountNodeFS("/loom", resolve(here, "../.."));
python.globals.set("arguments", python.toPy(given));

let code = 1;
try {
  code = python.runPython(`
import os, sys
os.chdir("/loom")
sys.dont_write_bytecode = True
sys.path[:0] = ["/loom", "/loom/tests/python314/.packages", "/packages"]
from tests.python314.inside import main
main(arguments)
`);
} catch (error) {
  console.error(error.message); // without the line of Pyodide's minified source that Node would add
}
process.exit(code);
