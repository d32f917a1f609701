#!/usr/bin/env bash
# In a guest: a node reaches the intranet by L2TP over IPsec transport, and moves. FILES/gw and FILES/mn have what lies on the
# disks of the gateway and the node. The Mobile IP tunnel is the kernel's IP-in-IP, whose end is told by hand where the node is.
# Prints NAME=VALUE, a line each.
set -euo pipefail
files=$1 home=192.0.2.69 gateway=203.0.113.20 correspondent=192.0.2.50
modprobe -a ipip esp4 ppp_generic l2tp_ppp ppp_async veth bridge nft_fib_ipv4

on() { nsenter --net="/run/netns/$1" -- "${@:2}"; }
# Beside what was started on the host, with its files.
at() { nsenter --target="${booted[$1]}" --root --mount --net --wd=/ -- "${@:2}"; }
declare -A booted
within() { # within SECONDS COMMAND...: until it succeeds
  local end=$((SECONDS + $1))
  until "${@:2}" >/dev/null 2>&1; do
    if ((SECONDS > end)); then
      echo "not within $1 s: ${*:2}"
      "${@:2}" || true
      tail -n 40 /run/*.log
      exit 1
    fi
    sleep 0.3
  done
}

for name in mn inet mipp gw cn; do
  ip netns add $name
  on $name ip link set lo up
  on $name sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
done
wire() { # wire HOST INTERFACE ADDRESS HOST INTERFACE ADDRESS
  ip link add "$2" netns "$1" type veth peer name "$5" netns "$4"
  on "$1" ip link set "$2" up && on "$4" ip link set "$5" up
  [ "$3" = - ] || on "$1" ip address add "$3" dev "$2"
  [ "$6" = - ] || on "$4" ip address add "$6" dev "$5"
}
wire mn eth0 198.51.100.10/27 inet one 198.51.100.1/27
wire mn eth1 198.51.100.40/27 inet two 198.51.100.33/27
on inet ip link add dmz type bridge
on inet ip link set dmz up
on inet ip address add 203.0.113.1/26 dev dmz
wire mipp pub 203.0.113.10/26 inet mipp -
wire gw pub $gateway/26 inet gw -
on inet ip link set mipp master dmz && on inet ip link set gw master dmz
wire gw priv 192.0.2.20/27 cn dmz 192.0.2.1/27
on mipp ip route add default via 203.0.113.1
on gw ip route add default via 203.0.113.1
on gw ip route add 192.0.2.32/27 via 192.0.2.1
on cn ip address add $correspondent/32 dev lo
on cn ip route add default via 192.0.2.20
on mn ip address add $home/32 dev lo
on mn ip route add default via 198.51.100.1
on mn ip tunnel add mip mode ipip local 198.51.100.10 remote 203.0.113.10
on mn ip link set mip up
on mn ip route add $gateway dev mip src $home
on mipp ip tunnel add mip mode ipip local 203.0.113.10 remote 198.51.100.10
on mipp ip link set mip up
on mipp ip route add $home dev mip
on gw ip -batch "$files/gateway-routes.batch"
on gw nft -f "$files/guard.nft"

for host in gw mn; do
  nsenter --net=/run/netns/$host -- unshare --mount --propagation private -- bash -ec '
    mount -t overlay -o lowerdir="$1/etc:/etc" overlay /etc
    mount -t tmpfs tmpfs /run && mkdir -p /run/mobileip-l2tp /run/lock
    exec /usr/sbin/charon-systemd' boot "$files/$host" >/run/$host-charon.log 2>&1 &
  booted[$host]=$!
  within 60 test -S "/proc/$!/root/run/charon.vici"
  within 30 at $host swanctl --load-all --noprompt
done
l2tp() { # l2tp HOST FILE: its xl2tpd, as its unit starts it
  nsenter --target="${booted[$1]}" --root --mount --net --wd=/ -- /usr/sbin/xl2tpd -D -c "$2" -s /dev/null \
    -p /run/mobileip-l2tp/pid -C /run/mobileip-l2tp/control >>"/run/$1-l2tp.log" 2>&1 &
  started[$1]=$!
}
declare -A started
refused() { on gw nft list chain inet mobileip_gateway refuse | sed -n 's/.*counter packets \([0-9]*\).*/\1/p'; }
spis() { on mn ip xfrm state | sed -n 's/.*proto esp spi \(0x[0-9a-f]*\).*/\1/p' | sort | paste -sd,; }
echoes() { on mn ping -q -c 5 -i 0.3 -W 5 -I $home $correspondent | sed -n 's/.* \([0-9]*\) received.*/\1/p'; }

l2tp gw /etc/mobileip/l2tp.conf
l2tp mn /etc/xl2tpd/vpngw.conf
within 90 on mn ip -4 -o address show dev ppp0 scope global
echo "address=$(on mn ip -4 -o address show dev ppp0 | sed -n 's/.*inet \([0-9.]*\).*/\1/p')"
echo "route=$(on gw ip -o route show $home | sed 's/ *$//')"
on mn ip route add 192.0.2.32/27 dev ppp0 src $home
within 20 on mn ping -q -c 1 -W 2 -I $home $correspondent
echo "pings=$(echoes)"
echo "spis=$(spis)"
pppd=$(pidof pppd)
nsenter --net=/run/netns/gw -- tcpdump -nl --immediate-mode -i pub "ip and host $home" >/run/capture 2>/run/capture.err &
listening=$!
within 20 grep -q listening /run/capture.err
on mn ping -q -i 0.2 -w 30 -I $home $correspondent >/run/pinging 2>&1 &
pinging=$!
for place in "40 33 eth1" "10 1 eth0"; do
  sleep 3
  set -- $place
  on mn ip route replace default via 198.51.100.$2 dev $3
  on mn ip tunnel change mip local 198.51.100.$1 remote 203.0.113.10
  on mipp ip tunnel change mip local 203.0.113.10 remote 198.51.100.$1
  echo "pings_at_$1=$(echoes)"
done
wait $pinging || true
kill $listening
wait $listening || true
echo "lost=$(sed -n 's/\([0-9]*\) packets transmitted, \([0-9]*\) received.*/\1 \2/p' /run/pinging | (read -r sent got && echo $((sent - got))))"
echo "spis_after=$(spis)"
[ "$(pidof pppd)" = "$pppd" ] && echo "links=same"
echo "esp=$(grep -c 'ESP(' /run/capture)"
echo "other=$(grep -v 'ESP(' /run/capture | paste -sd';' || true)"

# In another's name, out of a link; to where nobody goes by it; L2TP in clear.
before=$(refused)
on mn ip address add 192.0.2.70/32 dev lo
on mn ping -q -c 3 -i 0.2 -W 1 -I 192.0.2.70 $correspondent >/dev/null || true
echo "refused_name=$(($(refused) - before))"
before=$(refused)
on mn ip route add 192.0.2.192/27 dev ppp0 src $home
on mn ping -q -c 3 -i 0.2 -W 1 -I $home 192.0.2.193 >/dev/null || true
echo "refused_destination=$(($(refused) - before))"
before=$(refused)
on inet bash -c 'echo clear >/dev/udp/203.0.113.20/1701'
sleep 0.5
echo "refused_clear=$(($(refused) - before))"

# Another inner address than the home address.
kill "${started[mn]}"
wait "${started[mn]}" || true
within 30 bash -c '! pidof pppd'
l2tp mn /etc/xl2tpd/other.conf
within 60 at mn grep -q '<addr 192.0.2.70>' /run/ppp.log
sleep 10
echo "other_asked=$(at mn grep -c '<addr 192.0.2.70>' /run/ppp.log)"
echo "other_routes=$(on gw ip -o route show 192.0.2.70 | wc -l)"
