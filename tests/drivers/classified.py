"""Every method and property of each driver's connection class, and how holdfast deals with it.

``held``: holdfast has a method of its own in its place.
``through``: sends a command, by way of the held method that is named.
``silent``: never sends a command and never reads a reply that could be the ROLLBACK's.
"""

from __future__ import annotations

DBAPI_NAMES = (
    "DataError DatabaseError Error IntegrityError InterfaceError InternalError NotSupportedError OperationalError "
    "ProgrammingError Warning __enter__"
)

MYSQLDB = {
    "through": {
        "__exit__": "close",
        "begin": "query",
        "set_sql_mode": "query",
        "show_warnings": "query",
    },
    "silent": (
        DBAPI_NAMES + " _bytes_literal _get_native_connection _set_attributes _set_literal _tuple_literal "
        "affected_rows character_set_name default_cursor discard_result errno error escape escape_string "
        "field_count fileno get_autocommit get_character_set_info get_host_info get_proto_info get_server_info info "
        "insert_id literal more_results sqlstate store_result string_literal thread_id use_result warning_count "
        # reads only what more_results() announces, and then no ROLLBACK is deferred
        "next_result"
    ),
}

PYMYSQL = {
    "through": {
        "__exit__": "close",
        "_send_autocommit_mode": "_execute_command",
        "kill": "query",
        "set_charset": "set_character_set",
        # part of connect()
        "_get_server_information": "connect",
        "_process_auth": "connect",
        "_request_authentication": "connect",
    },
    "silent": (
        DBAPI_NAMES + " __del__ _create_ssl_ctx _escape_string _force_close _get_auth_plugin_handler affected_rows "
        "character_set_name escape get_autocommit get_host_info get_proto_info get_server_info insert_id "
        "literal open thread_id "
        # below the commands: bytes and packets of a command that is under way
        "_read_bytes _read_packet _write_bytes write_packet"
    ),
}

_CONNECTOR_SILENT = (
    "__enter__ _add_default_conn_attrs _charset_id _check_server_version _validate_callable "
    "_validate_tls_ciphersuites _validate_tls_versions can_consume_results charset charset_id client_flags "
    "cmd_process_info collation config connection_id converter_class get_self get_server_info get_server_version "
    "get_warnings have_next_result in_transaction is_secure isset_client_flag pool_config_version python_charset "
    "query_attrs query_attrs_append query_attrs_clear query_attrs_remove raise_on_warnings read_timeout server_host "
    "server_info server_port server_version set_allow_local_infile_in_path set_client_flags set_converter_class "
    "set_login set_unicode shutdown unix_socket unread_result use_unicode user write_timeout"
)

MYSQLCONNECTOR = {
    "through": {
        "__exit__": "close",
        "_execute_query": "cmd_query",
        "_post_connection": "cmd_query",
        "autocommit": "cmd_query",
        "cmd_debug": "_send_cmd",
        "cmd_init_db": "_send_cmd",
        "cmd_ping": "_send_cmd",
        "cmd_process_kill": "cmd_query",
        "cmd_query_iter": "_send_cmd",
        "cmd_refresh": "cmd_query",
        "cmd_reset_connection": "_send_cmd",
        "cmd_shutdown": "cmd_query",
        "cmd_stmt_close": "_send_cmd",
        "cmd_stmt_fetch": "_send_cmd",
        "cmd_stmt_reset": "_send_cmd",
        "cmd_stmt_send_long_data": "_send_cmd",
        "connect": "_open_connection",
        "consume_results": "get_rows",
        "database": "cmd_init_db",
        "get_row": "get_rows",
        "handle_unread_result": "get_rows",
        "info_query": "cursor",
        "reconnect": "_open_connection",
        "reset_session": "cmd_reset_connection",
        "set_charset_collation": "cmd_query",
        "sql_mode": "cmd_query",
        "start_transaction": "cmd_query",
        "time_zone": "cmd_query",
    },
    "silent": (
        _CONNECTOR_SILENT + " "
        # part of opening a connection, or of closing it
        "_do_auth _do_handshake _get_connection cmd_quit "
        # the rest of a reply whose command went through _send_cmd
        "_handle_binary_ok _handle_binary_result _handle_eof _handle_load_data_infile _handle_ok _handle_result "
        "_send_data"
    ),
}

MYSQLCONNECTOR_C = {
    "through": {
        "__exit__": "close",
        "_post_connection": "_execute_query",
        "cmd_process_kill": "cmd_query",
        "cmd_stmt_send_long_data": "cmd_stmt_prepare",
        "reconnect": "_open_connection",
        "connect": "_open_connection",
        "reset_session": "cmd_reset_connection",
        "set_charset_collation": "_execute_query",
        "sql_mode": "cmd_query",
        "start_transaction": "_execute_query",
        "time_zone": "cmd_query",
    },
    "silent": (
        _CONNECTOR_SILENT + " _do_handshake _server_status cmd_debug cmd_ping cmd_query_iter cmd_quit "
        "consume_results fetch_eof_columns fetch_eof_status free_result get_row get_rows handle_unread_result "
        "is_closed more_results next_result num_rows prepare_for_mysql result_set_available warning_count"
    ),
}
