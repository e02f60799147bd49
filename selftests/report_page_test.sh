#!/bin/bash
# SPDX-License-Identifier: MIT
#
# report_page_test.sh - the page of uffdstm report --html in a browser: loaded, clicked, its console looked at.
#
# The browser is Chromium, without a window, steered through chromedriver by what WebDriver says over HTTP. Where they are not
# to be had, this skips.
# shellcheck disable=SC2317 # functions are called through ok
if [ -z "${UFFDSTM_SRC:-}" ]; then
	echo "1..0 # SKIP not run from the source tree (UFFDSTM_SRC)"
	exit 4
fi
for program in chromedriver chromium curl; do
	command -v $program >/dev/null && continue
	echo "1..0 # SKIP no $program"
	exit 4
done
# shellcheck source=selftests/uffdstm_support.sh
. "$UFFDSTM_SRC/selftests/uffdstm_support.sh"
# shellcheck source=selftests/report_support.sh
. "$UFFDSTM_SRC/selftests/report_support.sh"
if ! build_helper 2>log; then
	sed 's/^/# /' log
	echo "Bail out! report_helper.c is not compiled"
	exit 1
fi

# ---- the browser ----

# It takes a port that is free and says which.
HOME=$tmp chromedriver --port=0 >driver 2>&1 &
driver=$!
session=
end_browser()
{
	[ -z "$session" ] || curl -s -X DELETE "$session" >/dev/null
	kill "$driver" 2>/dev/null
	wait "$driver" 2>/dev/null
	rm -rf "$tmp"
}
trap end_browser EXIT
for ((i = 0; i < 600; i++)); do
	port=$(sed -n 's/.*started successfully on port \([0-9]*\).*/\1/p' driver)
	[ -z "$port" ] || break
	sleep 0.1
done
mkdir profile
curl -s -o answer "http://127.0.0.1:$port/session" -d '{ "capabilities": { "alwaysMatch": { "browserName": "chrome",
	"goog:loggingPrefs": { "browser": "ALL" }, "goog:chromeOptions": { "binary": "'"$(command -v chromium)"'", "args": [ "--headless",
	"--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
	"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1400,1200",
	"--user-data-dir='"$tmp"'/profile" ] } } } }'
id=$(./helper json answer 2>/dev/null | sed -n 's/^value\.sessionId\t//p')
if [ -z "$id" ]; then
	echo "1..0 # SKIP chromium does not start: $(head -c 200 answer | tr -d '\n#')"
	exit 4
fi
session=http://127.0.0.1:$port/session/$id

# ask PATH BODY: the answer, as "path<tab>value" lines
ask()
{
	curl -s -o answer "$session/$1" -H 'Content-Type: application/json' -d "$2" && ./helper json answer >said || return
	! grep -q '^value\.error	' said || { echo "$1 $2:"; cat said; return 1; }
}
# run SCRIPT: prints what it returns
run()
{
	local script=${1//\\/\\\\}

	ask execute/sync "{ \"script\": \"${script//\"/\\\"}\", \"args\": [] }" && sed -n 's/^value\t//p' said
}
# is SCRIPT VALUE
is()
{
	local value

	value=$(run "return String($1)")
	[ "$value" = "$2" ] || { echo "$1: '$value', not '$2'"; return 1; }
}
has()
{
	local value

	value=$(run "return document.querySelector('$1').textContent")
	[[ $value == *$2* ]] || { echo "$1: '$value', without '$2'"; return 1; }
}
# click X Y: there on the chart, by the mouse
click()
{
	local at

	at=$(run "const box = canvas.getBoundingClientRect(); return Math.round(box.left + $1) + ', \"y\": ' + Math.round(box.top + $2)") || return
	ask actions '{ "actions": [ { "type": "pointer", "id": "mouse", "parameters": { "pointerType": "mouse" }, "actions": [
		{ "type": "pointerMove", "duration": 0, "x": '"$at"' }, { "type": "pointerDown", "button": 0 }, { "type": "pointerUp", "button": 0 } ] } ] }'
}
# press SELECTOR: a click on that element
press()
{
	ask element "{ \"using\": \"css selector\", \"value\": \"$1\" }" || return
	ask "element/$(sed -n 's/^value\.element-[^\t]*\t//p' said)/click" '{}'
}
# Nothing was written to the console since the last look.
quiet()
{
	ask se/log '{ "type": "browser" }' || return
	! grep '^value\.' said
}
open_page()
{
	ask url "{ \"url\": \"file://$tmp/$1\" }"
}
# page NAME: of that log
page()
{
	./helper write "$1" >"$1.log" && "$tool" report --html -o "$1.html" "$1.log" && open_page "$1.html"
}

plan 9

loads()
{
	page counter && quiet && is 'document.title' 'known - uffdstm report' && is 'document.querySelectorAll("#pairs > article").length' 1 &&
		is 'report.threads.length + " " + spans.length + " " + arrows.length' '2 400 100' && has '#about' 'Ran for 1 s with 2 threads' &&
		has '#keys' 'committed 400 ms, 50.0 %' && has '#hints' 'is a counter' && has '#sites' 'known.c:20' &&
		# something is drawn, in the colours of what there is
		is '[...new Set(new Uint32Array(context.getImageData(0, 0, canvas.width, canvas.height).data.buffer))].length > 5' true
}
ok "the page loads, and its console is quiet" loads
arrow()
{
	local at

	# shellcheck disable=SC2086 # two numbers
	run 'show(arrows[50].end - 20000, arrows[50].end + 20000); drawNow(); return 0' >/dev/null &&
		at=$(run 'const e = arrowEnds(arrows[50]); return Math.round((e[0] + e[2]) / 2) + " " + Math.round((e[1] + e[3]) / 2)') &&
		click $at && is 'arrows.indexOf(picked)' 50 && has '#details' 'Conflict: first wrote what second had read' &&
		has '#details' 'report_helper.c' && has '#details' 'known.c:20  reader' && has '#details' '0x200110' && quiet
}
ok "an arrow, clicked, names both sites" arrow
middle_of_s='return Math.round(x((s.begin + s.end) / 2)) + " " + Math.round(y(0) + 8)'
bar()
{
	local at

	at=$(run 'const s = window.expected = spans.find(s => s.thread === 0 && s.begin >= from && s.end <= to); '"$middle_of_s") || return
	# shellcheck disable=SC2086
	click $at && is 'picked === window.expected' true && has '#details' 'first: committed' && has '#details' '2 ms from' &&
		has '#details' 'known.c:10  adder' && quiet
}
ok "a transaction, clicked, names its site" bar
zooms()
{
	local span

	press '#all' && is 'to - from === span' true && press '#in' && is 'Math.abs((to - from) / span - 0.6) < 1e-9' true || return
	span=$(run 'return String(to - from)')
	ask actions '{ "actions": [ { "type": "wheel", "id": "wheel", "actions": [ { "type": "scroll", "x": 700, "y": 300, "deltaX": 0,
		"deltaY": -100, "origin": "viewport" } ] } ] }' || return
	run 'canvas.scrollIntoView({ block: "center" }); return 0' >/dev/null
	is "to - from < $span || 'still ' + (to - from)" true || return
	press '#out' && press '#all' && is 'to - from === span' true && has '#range' 'all of 1 s' && quiet
}
ok "buttons and wheel zoom" zooms
pairs()
{
	page ranking && is 'document.querySelectorAll("#pairs > article").length' 3 && press '#pairs > article:nth-child(2)' && is chosen 1 &&
		is 'document.querySelectorAll("#pairs > article.chosen").length' 1 && is 'shownArrows().every(a => a.pair === 1)' true &&
		is 'shownArrows().length' 10 && press '#next' && is 'picked.pair' 1 && has '#details' 'no. 2 of the list' &&
		press '#pairs > article:nth-child(2)' && is chosen -1 && press '#all' && is 'shownArrows().length' 20 && quiet
}
ok "a conflict of the list shows its arrows" pairs
harm()
{
	page harm && quiet && is 'document.querySelectorAll("img, b").length' 0 && has '#sites' '</script><script>alert(1)</script>' &&
		has '#threads' '<img src=x onerror=alert(1)>'
}
ok "names that mean harm are text" harm
named()
{
	page named && quiet && has '#sites' '"transfer"  known.c:10  adder' &&
		has '#pairs' '"transfer"  known.c:10  adder' && page named-tasks && quiet &&
		has '#tasks' '"load"  counter_add' && has '#sites' '"load"  ' && has '#hints' '"load" begun at'
}
ok "names of transactions and tasks" named
others()
{
	local name

	for name in empty undefined long split tasks threads; do
		page "$name" && quiet && press '#next' && press '#in' && quiet || { echo "$name"; return 1; }
	done
}
ok "pages of other logs" others
noisy()
{
	# what quiet() is worth
	sed 's|</main>|</main><script>nothing.at.all()</script>|' counter.html >noisy.html && open_page noisy.html && ! quiet >/dev/null &&
		sed 's|</main>|</main><img src="http://127.0.0.1:9/x">|' counter.html >noisy.html && open_page noisy.html && ! quiet >/dev/null
}
ok "errors, and what would be fetched, are seen in the console" noisy

finish
