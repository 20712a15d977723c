"""Says what a host Python is, as one line of JSON. Run with `-I -S`: no site, no user code."""

import importlib.util
import json
import os
import platform
import site
import sys
import sysconfig

# With -S the site directories are not on the path, so pip is looked for as a
# directory; running their .pth files only to learn this would be a side effect.
site_dirs = site.getsitepackages()
executable = getattr(sys, "_base_executable", None) or sys.executable
library = sysconfig.get_config_var("LDLIBRARY") or ""
shared = ".so" in library

print(
    json.dumps(
        {
            "executable": os.path.realpath(executable),
            "version": platform.python_version(),
            "major": sys.version_info[0],
            "minor": sys.version_info[1],
            "implementation": sys.implementation.name,
            "cache_tag": sys.implementation.cache_tag or "",
            "soabi": sysconfig.get_config_var("SOABI") or "",
            "machine": platform.machine(),
            "bits": 64 if sys.maxsize > 2**32 else 32,
            "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
            "base_prefix": os.path.realpath(sys.base_prefix),
            "base_exec_prefix": os.path.realpath(sys.base_exec_prefix),
            "stdlib": sysconfig.get_path("stdlib"),
            "platstdlib": sysconfig.get_path("platstdlib", vars={"platbase": sys.base_exec_prefix}),
            "libpython_dir": sysconfig.get_config_var("LIBDIR") if shared else None,
            "venv": importlib.util.find_spec("venv") is not None,
            "ensurepip": importlib.util.find_spec("ensurepip") is not None,
            "pip": any(os.path.isfile(os.path.join(d, "pip", "__init__.py")) for d in site_dirs),
        }
    )
)
