"""What the processes of a crowd need, imported once for all of them."""

from __future__ import annotations

import mysql.connector
import MySQLdb
import pymysql
import sqlalchemy.dialects.mysql
import sqlalchemy.orm

import sqlalchemy_holdfast as holdfast
import tests.budget.crowd

__all__ = ["MySQLdb", "holdfast", "mysql", "pymysql", "sqlalchemy", "tests"]
