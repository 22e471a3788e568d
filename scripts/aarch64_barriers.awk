# SPDX-License-Identifier: MIT
# objdump -d of libuhmm for aarch64: every atomic operation that the sources name full is followed by a full barrier before any
# other access to memory. A seq_cst exchange alone is not: what comes behind it may be performed before its store.
# Prints what is not, and how many there are.
/^[0-9a-f]+ <.*>:$/ { function_name = $2; outline = function_name ~ /^<__aarch64_/; open = "" }
outline { next }
open != "" {
	if ($0 ~ /\tdmb\tish$/)
		open = ""
	else if ($0 ~ /\t(ld|st|sw|cas|bl|br|ret|svc|dc|ic)[a-z0-9]*\t?/) {
		print "no barrier behind" open " in " function_name
		bad++
		open = ""
	}
}
/\t(bl\t.*<__aarch64_[a-z]+[0-9]+_(acq_rel|sync)>|(swp|cas|ldadd|ldset|ldclr)al[bh]?\t)/ {
	open = $0
	count++
}
END {
	print count + 0 " full operations, " bad + 0 " without a barrier"
	exit bad > 0 || count < 50
}
