"""What is known of MySQL and MariaDB: tables, and functions over numbers and texts.

Nothing here connects to anything, and nothing but :mod:`~sqlalchemy_holdfast.server.hints` and
:mod:`~sqlalchemy_holdfast.server.faults` knows SQLAlchemy, whose errors they are given.
"""
