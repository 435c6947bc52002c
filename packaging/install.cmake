# What is installed besides the programs, for a package as for a machine of one's own.

set(MIRED_DATA ${CMAKE_INSTALL_DATADIR}/mired)
set(MIRED_IS_PACKAGE OFF)
set(MIRED_UNIT_DIR lib/systemd/system)
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr")
    set(MIRED_IS_PACKAGE ON)
    set(MIRED_UNIT_DIR /lib/systemd/system) # where Debian 12 has them
endif()

# services, users, directories and kernel settings for systemd
file(GLOB unit_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/systemd/*.service
    ${CMAKE_SOURCE_DIR}/systemd/*.socket ${CMAKE_SOURCE_DIR}/systemd/*.timer)
set(MIRED_UNITS "")
foreach(source ${unit_sources})
    get_filename_component(unit ${source} NAME)
    configure_file(${source} ${unit} @ONLY)
    install(FILES ${CMAKE_BINARY_DIR}/${unit} DESTINATION ${MIRED_UNIT_DIR})
    list(APPEND MIRED_UNITS ${unit})
endforeach()
install(FILES systemd/mired.service.d/limits.conf
    DESTINATION ${MIRED_DATA}/systemd/mired.service.d)
install(PROGRAMS systemd/mired-tproxy DESTINATION ${CMAKE_INSTALL_SBINDIR})
install(FILES systemd/mired.sysusers DESTINATION lib/sysusers.d RENAME mired.conf)
install(FILES systemd/mired.tmpfiles DESTINATION lib/tmpfiles.d RENAME mired.conf)
install(FILES systemd/mired.modules DESTINATION lib/modules-load.d RENAME mired.conf)
install(FILES sysctl/mired.conf DESTINATION lib/sysctl.d RENAME 50-mired.conf)
install(FILES sysctl/mired-million.conf DESTINATION ${MIRED_DATA}/sysctl)

# templates of rules; shaping is a program
install(DIRECTORY nft/ DESTINATION ${MIRED_DATA}/nft FILES_MATCHING PATTERN "*.nft")
install(PROGRAMS nft/shape.sh DESTINATION ${CMAKE_INSTALL_SBINDIR} RENAME mired-shape)

# examples
install(FILES src/mired-setup/spamd.conf.example DESTINATION ${MIRED_DATA})
install(FILES src/conf/mired.conf.example DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/mired/examples
    RENAME mired.conf)
install(DIRECTORY dashboards/ DESTINATION ${MIRED_DATA}/dashboards)
install(FILES logging/rsyslog-mired.conf logging/logrotate-mired
    DESTINATION ${MIRED_DATA}/logging)
install(PROGRAMS logging/rotate-log DESTINATION lib/mired)

# completion: one file, found by the name of the command
set(completions ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES packaging/mired.bash DESTINATION ${completions} RENAME mired)
set(MIRED_LINKS miredctl:mired@${completions} miredb:mired@${completions}
    mired-setup:mired@${completions} mired-logd:mired@${completions}
    mired-tproxy:mired@${completions} mired-shape:mired@${completions})

# the names that spamd's own have; Debian's SpamAssassin owns one of them, so nobody gets them unasked
set(MIRED_UNIT_ALIASES "")
if(MIRED_SPAMD_NAMES)
    foreach(pair spamd:mired spamlogd:mired-logd spamd-setup:mired-setup)
        string(REPLACE ":" ";" pair ${pair})
        list(GET pair 0 alias)
        list(GET pair 1 name)
        list(APPEND MIRED_LINKS ${alias}:${name}@${CMAKE_INSTALL_SBINDIR}
            ${alias}.service:${name}.service@${MIRED_UNIT_DIR}
            ${alias}:mired@${completions})
        list(APPEND MIRED_UNIT_ALIASES ${alias}.service)
        list(APPEND alias_pages ${alias}.8:${name}.8)
    endforeach()
    list(APPEND MIRED_LINKS spamdb:miredb@${CMAKE_INSTALL_BINDIR} spamdb:mired@${completions}
        spamd-setup.timer:mired-setup.timer@${MIRED_UNIT_DIR})
    list(APPEND MIRED_UNIT_ALIASES spamd-setup.timer)
    list(APPEND alias_pages spamdb.8:miredb.8)
endif()

# manual pages; Debian wants them compressed
set(page_suffix "")
file(GLOB MIRED_PAGES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/man/*.[578])
if(MIRED_IS_PACKAGE)
    set(page_suffix ".gz")
else()
    foreach(page ${MIRED_PAGES})
        string(REGEX MATCH "[578]$" section ${page})
        install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
    endforeach()
endif()
foreach(pair ${alias_pages})
    string(REGEX REPLACE "(.*):(.*)" "\\1${page_suffix}:\\2${page_suffix}" pair ${pair})
    list(APPEND MIRED_LINKS ${pair}@${CMAKE_INSTALL_MANDIR}/man8)
endforeach()

# NAME:TARGET@FOLDER: symbolic links inside a folder
foreach(link ${MIRED_LINKS})
    string(REGEX MATCH "^(.*):(.*)@(.*)$" all ${link})
    set(out ${CMAKE_BINARY_DIR}/links/${CMAKE_MATCH_3}/${CMAKE_MATCH_1})
    get_filename_component(folder ${out} DIRECTORY)
    file(MAKE_DIRECTORY ${folder})
    file(CREATE_LINK ${CMAKE_MATCH_2} ${out} SYMBOLIC)
    install(FILES ${out} DESTINATION ${CMAKE_MATCH_3})
endforeach()

if(MIRED_IS_PACKAGE)
    include(${CMAKE_CURRENT_LIST_DIR}/package.cmake)
endif()
