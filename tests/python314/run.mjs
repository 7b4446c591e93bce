// Run pytest inside Pyodide: node run.mjs [arguments of pytest]

import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { loadPyodide } from "pyodide";

const here = dirname(fileURLToPath(import.meta.url));

const python = await loadPyodide();
python.mountNodeFS("/loom", resolve(here, "../.."));
python.globals.set("arguments", python.toPy(process.argv.slice(2)));

let code = 1;
try {
  code = python.runPython(`
import os, sys
os.chdir("/loom")
sys.dont_write_bytecode = True
sys.path[:0] = ["/loom", "/loom/tests/python314/.packages"]
from tests.python314.inside import main
main(arguments)
`);
} catch (error) {
  console.error(error.message); // without the line of Pyodide's minified source that Node would add
}
process.exit(code);
