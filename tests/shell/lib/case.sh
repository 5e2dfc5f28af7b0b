# Runs one case: the vocabulary, the case, and the end of everything that the case began.
set -u
for part in assert wait cluster faults load postgres suites clean mounting; do
  # shellcheck source=/dev/null
  source "$LIB/$part.sh"
done
trap 'end_loads; exit' EXIT
trap 'exit 143' TERM INT
cd "${D:-$CASE_DIR}" || exit 1
# shellcheck source=/dev/null
source "$1"
exit 0
