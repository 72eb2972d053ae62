#!/bin/sh
# Unpacks Debian packages, and all that they depend on, into /system: what an image holds that starts from nothing.
# Theirs is no script that runs; what their scripts would have made of use is made at the end, as tools/images does it.
set -eu

mkdir --parents /debs/partial /system/tmp /system/etc/retrograde /system/var/lib/dpkg/status.d
apt-get update
apt-get install --yes --download-only --no-install-recommends \
    --option Dir::State::status=/dev/null --option Dir::Cache::archives=/debs "$@"

for each in bin sbin lib lib64; do
    mkdir --parents "/system/usr/$each"
    ln --symbolic "usr/$each" "/system/$each"
done
for deb in /debs/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar --extract --directory /system --keep-directory-symlink
    dpkg-deb --field "$deb" >"/system/var/lib/dpkg/status.d/$(dpkg-deb --field "$deb" Package)"
done

cd /system
find usr/share/doc -type f ! -name copyright -delete
rm -rf usr/share/man usr/share/locale usr/share/info usr/share/lintian usr/share/bug \
    usr/lib/python3.11/lib2to3 usr/lib/python3.11/pydoc_data
ln --symbolic --force dash usr/bin/sh
ln --symbolic python3 usr/bin/python
printf 'root:x:0:0:root:/root:/bin/sh\nretrograde:x:10001:10001::/app:/bin/false\n' >etc/passwd
printf 'root:x:0:\nretrograde:x:10001:\n' >etc/group
echo 'hosts: files dns' >etc/nsswitch.conf
chmod 1777 tmp
