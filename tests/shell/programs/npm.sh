# limit: 180
# npm: packs local packages, and installs them without a network: one that needs two others, with links to its programs.
skip_without npm
export npm_config_cache=$PWD/cache npm_config_offline=true npm_config_audit=false npm_config_fund=false \
  npm_config_update_notifier=false HOME=$PWD
package() { # NAME [DEPENDENCY...]
  local name=$1 d list=; shift
  mkdir -p "src/$name/lib"
  for d in "$@"; do list="$list${list:+, }\"$d\": \"file:$PWD/$d-1.0.0.tgz\""; done
  echo "{ \"name\": \"$name\", \"version\": \"1.0.0\", \"main\": \"lib/index.js\", \"bin\": { \"$name\": \"cli.js\" },
    \"dependencies\": { $list } }" > "src/$name/package.json"
  {
    for d in "$@"; do echo "require('$d');"; done
    for n in $(seq 1 40); do echo "exports.f$n = require('./part$n.js');"; done
  } > "src/$name/lib/index.js"
  for n in $(seq 1 40); do echo "module.exports = '$name $n';" > "src/$name/lib/part$n.js"; done
  printf '#!/usr/bin/env node\nconsole.log(require("./lib").f7);\n' > "src/$name/cli.js"
  chmod 755 "src/$name/cli.js"
  need npm pack --silent "./src/$name"
}
package left; package right left; package top left right
ok "packs"
mkdir app; cd app || exit 1
echo '{ "name": "app", "version": "1.0.0" }' > package.json
check "installs" npm install --silent ../top-1.0.0.tgz
for name in left right top; do check "$name is whole" diff -r "../src/$name" "node_modules/$name"; done
same "what is installed runs" "right 40" "$(node -p 'require("right").f40')"
same "and its program" "top 7" "$(./node_modules/.bin/top)"
check "npm ci installs it anew" npm ci --silent
same "the same" "top 7" "$(./node_modules/.bin/top)"
check "uninstalls" npm uninstall --silent top
refuse "all of it" test -e node_modules/left
