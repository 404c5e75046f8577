#!/usr/bin/env bash
# Build the C library with the given sanitizers and run the tests that reach it.
#
#   sanitize.sh address,undefined | thread
#
# The instrumented module stands beside the installed one (tests/conftest.py loads it by
# ZKAI_TEST_NATIVE); the sanitizer's runtime is preloaded, because python is not instrumented.
set -euo pipefail
cd "$(dirname "$0")/.."

sanitizers=${1:?usage: sanitize.sh address,undefined|thread}
python=${PYTHON:-python3}
cc=${CC:-gcc}
build=build/sanitize/${sanitizers//,/-}

case $sanitizers in
  thread) runtime=libtsan.so ;;
  address*) runtime=libasan.so ;;
  *) echo "sanitize.sh: unknown sanitizer '$sanitizers'" >&2; exit 2 ;;
esac
runtime=$("$cc" -print-file-name="$runtime")
[[ $runtime == /* ]] || { echo "sanitize.sh: $cc has no runtime for $sanitizers" >&2; exit 3; }

echo "== building with -fsanitize=$sanitizers"
"$python" -m cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=None -DCMAKE_C_COMPILER="$cc" \
  -DCMAKE_C_FLAGS=-fno-sanitize-recover=all -DZKAI_SANITIZE="$sanitizers" \
  -DPython_EXECUTABLE="$("$python" -c 'import sys; print(sys.executable)')" >/dev/null
"$python" -m cmake --build "$build"
library=$(find "$build" -maxdepth 1 -name '_native*.so' | head -n 1)

# pycryptodome otherwise loads itself in a way that the runtimes refuse.
export PYCRYPTODOME_DISABLE_DEEPBIND=1
# Threads of other libraries are not instrumented and would only add noise.
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
export ZKAI_TEST_NATIVE=$library
# Python keeps memory until it ends, so leaks cannot be told apart here.
export ASAN_OPTIONS=halt_on_error=1:detect_leaks=0:allocator_may_return_null=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1

# The tests that drive the C library. Those of model/ and cli only load it, and torch beside it.
mapfile -t tests < <(grep -lE '(from|import) zkai(\.| import )(native|proof|circuit\.formats|he\.rlwe)|native' \
  tests/{unit,property}/test_*.py | xargs grep -LE '\b(torch|onnxruntime|tenseal|zkai\.cli)\b')

# Mutated files whose bytes C reads in place.
if [[ $sanitizers != thread ]]; then
  for target in r1cs wtns zkey foreign-zkey ptau transcript rlwe-ciphertext rlwe-share; do
    tests+=("tests/fuzz/test_fuzz.py::test_mutated_input_is_accepted_or_refused[$target]")
  done
fi

echo "== ${#tests[@]} test files and targets under $sanitizers"
# Without address randomisation the runtimes find their shadow memory on every kernel.
# -s: a report of a process that is halted would be lost in pytest's capture.
setarch "$(uname -m)" -R env LD_PRELOAD="$runtime" PYTHONMALLOC=malloc \
  "$python" -m pytest -p no:cacheprovider -q -s -n 0 -m "not node" "${tests[@]}"
