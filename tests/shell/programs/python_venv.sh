# limit: 180
# A Python virtual environment with pip in it, and a wheel that needs another one installed from local files.
skip_without python3
python3 -c 'import venv, ensurepip' 2> /dev/null || skip python3-venv
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
cat > make_wheel.py << 'PY'
import sys, zipfile
name, *needs = sys.argv[1:]
info = f"{name}-1.0.dist-info"
files = {f"{name}/__init__.py": "".join(f"import {n}\n" for n in needs) + f"def main(): print('{name} runs')\n"}
for n in range(100):
    files[f"{name}/part{n}.py"] = f"VALUE = {n}\n"
files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n" + "".join(f"Requires-Dist: {n}\n" for n in needs)
files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: case\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name} = {name}:main\n"
files[f"{info}/RECORD"] = "".join(f"{f},,\n" for f in files) + f"{info}/RECORD,,\n"
with zipfile.ZipFile(f"{name}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
    for file, text in files.items():
        wheel.writestr(file, text)
PY
need python3 make_wheel.py below; need python3 make_wheel.py above below
check "an environment is made" python3 -m venv env
check "pip installs into it" env/bin/pip install -q --no-index --find-links . above
same "what is installed runs" "above runs" "$(env/bin/above)"
same "and what it needs" 99 "$(env/bin/python -c 'import below.part99 as p; print(p.VALUE)')"
check "compiled, too" test -e "$(env/bin/python -c 'import below.part50 as p; print(p.__cached__)')"
check "pip finds it in order" env/bin/pip check
check "and takes it away" env/bin/pip uninstall -q -y above below
refuse "all of it" env/bin/python -c 'import above'
