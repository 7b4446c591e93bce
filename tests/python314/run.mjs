// Run pytest inside Pyodide: node run.mjs SITE-PACKAGES [arguments of pytest]
//
// The repository and the given site-packages are mounted, not installed. C extensions that were
// built for another Python are not found there, so PyMongo works with its Python code.

import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { loadPyodide } from "pyodide";

const TESTS = ["tests/python314/deferred.py"];

const [packages, ...given] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));

const python = await loadPyodide();
python.mountNodeFS("/packages", packages);
python.mountNodeFS("/loom", resolve(here, "../.."));
python.globals.set("arguments", python.toPy(given.length ? given : TESTS));

let code = 1;
try {
  code = python.runPython(`
import os
import sys

os.chdir("/loom")
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
sys.dont_write_bytecode = True
sys.path[:0] = ["/loom", "/loom/tests/python314/.packages", "/packages"]

import pytest

print(f"Python {sys.version.split()[0]} on {sys.platform}", flush=True)
assert sys.version_info >= (3, 14), "this Pyodide brings an older Python; pin a newer one"
int(pytest.main(["-p", "no:cacheprovider", "-o", "addopts=", *arguments]))
`);
} catch (error) {
  console.error(error.message); // without the line of Pyodide's minified source that Node would add
}
process.exit(code);
