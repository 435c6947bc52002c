# The Debian package, by CPack: cmake --preset package && cmake --build --preset package
#
# Only for a build with the prefix /usr, whose paths are compiled into programs and units. What is in
# /etc belongs to the package alone: cmake --install leaves the administrator's files alone.

set(debian ${CMAKE_CURRENT_LIST_DIR}/debian)
set(doc ${CMAKE_INSTALL_DATADIR}/doc/mired)

# mired_conffile(source path): a file that upgrades keep as the administrator made it.
set(MIRED_CONFFILES "")
macro(mired_conffile source path)
    get_filename_component(folder ${path} DIRECTORY)
    get_filename_component(name ${path} NAME)
    install(FILES ${source} DESTINATION ${folder} RENAME ${name})
    string(APPEND MIRED_CONFFILES "${path}\n")
endmacro()
mired_conffile(${CMAKE_CURRENT_LIST_DIR}/mired.conf /etc/mired/mired.conf)
mired_conffile(${CMAKE_CURRENT_LIST_DIR}/nospamd /etc/mired/nospamd)
mired_conffile(${CMAKE_CURRENT_LIST_DIR}/override.txt /etc/mired/override.txt)
mired_conffile(${CMAKE_SOURCE_DIR}/src/mired-setup/spamd.conf.example /etc/mired/spamd.conf)
mired_conffile(${CMAKE_SOURCE_DIR}/logging/rsyslog-mired.conf /etc/rsyslog.d/30-mired.conf)
mired_conffile(${CMAKE_SOURCE_DIR}/logging/logrotate-mired /etc/logrotate.d/mired)
file(WRITE ${CMAKE_BINARY_DIR}/debian/conffiles "${MIRED_CONFFILES}")

# Scripts know the units by name: sockets and timers first, which could start a service again.
set(units ${MIRED_UNITS} ${MIRED_UNIT_ALIASES})
set(starters ${units})
list(FILTER starters INCLUDE REGEX "\\.(socket|timer)$")
list(FILTER units EXCLUDE REGEX "\\.(socket|timer)$")
list(JOIN starters " " MIRED_STARTERS)
list(JOIN units " " MIRED_SERVICES)
foreach(script postinst prerm postrm)
    configure_file(${debian}/${script} ${CMAKE_BINARY_DIR}/debian/${script} @ONLY)
    list(APPEND control ${CMAKE_BINARY_DIR}/debian/${script})
endforeach()

# What Debian wants compressed, without a time stamp, so that two builds give the same bytes.
find_program(GZIP gzip REQUIRED)
function(mired_compressed source name)
    set(out ${CMAKE_BINARY_DIR}/debian/${name}.gz)
    add_custom_command(OUTPUT ${out} DEPENDS ${source}
        COMMAND ${GZIP} -9nc ${source} > ${out} VERBATIM)
    set_property(GLOBAL APPEND PROPERTY MIRED_COMPRESSED ${out})
endfunction()
foreach(page ${MIRED_PAGES})
    get_filename_component(name ${page} NAME)
    mired_compressed(${page} ${name})
endforeach()
mired_compressed(${debian}/changelog changelog.Debian)
mired_compressed(${CMAKE_SOURCE_DIR}/CHANGELOG.md changelog)
get_property(compressed GLOBAL PROPERTY MIRED_COMPRESSED)
add_custom_target(debian_files ALL DEPENDS ${compressed})
foreach(file ${compressed})
    if(file MATCHES "\\.([578])\\.gz$")
        install(FILES ${file} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${CMAKE_MATCH_1})
    else()
        install(FILES ${file} DESTINATION ${doc})
    endif()
endforeach()
install(FILES ${debian}/copyright DESTINATION ${doc})
install(FILES ${CMAKE_SOURCE_DIR}/README.md DESTINATION ${doc})
install(FILES ${debian}/lintian-overrides DESTINATION share/lintian/overrides RENAME mired)

set(CPACK_GENERATOR DEB)
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE
    GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_PACKAGE_NAME mired)
set(CPACK_PACKAGE_CONTACT "the mired developers <mired@example.org>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "SMTP tarpit and greylisting gateway")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "mired stands between the Internet and a mail server, on its
host or on a gateway before it. It answers unknown SMTP clients one character
a second, defers their mail once, and steps aside in the kernel's packet
filter for every client that comes back as real mail servers do. Hosts on
blocklists and hosts that write to spamtraps are held for as long as they
stay. It is what OpenBSD's spamd suite is there, with the same options, log
lines and protocol of synchronisation, for IPv4 and IPv6.")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SECTION mail)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# passwd: to remove users; systemd or its parts alone: to make them, and directories
set(CPACK_DEBIAN_PACKAGE_DEPENDS "passwd, systemd | systemd-standalone-sysusers, \
systemd | systemd-standalone-tmpfiles")
# nft(8) to look at the tables, ip(8) for mired-tproxy
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "nftables, iproute2, ca-certificates")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "bash-completion, openssh-client, logrotate, rsyslog, prometheus")
if(MIRED_SPAMD_NAMES)
    set(CPACK_DEBIAN_PACKAGE_CONFLICTS "spamd, spamassassin")
endif()
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${control} ${CMAKE_BINARY_DIR}/debian/conffiles)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
# symbols in a package of their own, mired-dbgsym
set(CPACK_DEBIAN_DEBUGINFO_PACKAGE ON)
include(CPack)
