"""Drives nodes with the PyPI package sftpgo-client, unchanged: what its generated models read and write must fit.

Usage: drive.py ADMIN PASSWORD BASE_URL OTHER_BASE_URL. Fails loudly at the first thing that is not so.
"""
import sys

from sftpgo_client import Client
from sftpgo_client.base.api.api_keys import add_api_key, delete_api_key, get_api_keys
from sftpgo_client.base.client import AuthenticatedClient
from sftpgo_client.base.models import *  # noqa: F403
from sftpgo_client.base import models

admin, password, base, other = sys.argv[1:]
client = Client(base_url=base, user=admin, password=password, timeout=60.0)
elsewhere = Client(base_url=other, user=admin, password=password, timeout=60.0)


def check(condition, what):
    if not condition:
        raise SystemExit(f"not so: {what}")
    print(f"ok {what}")


check(client.get_version().version, "version")
check(client.get_status().data_provider.is_active, "status")

# Users: made here, seen there at once, changed as read, gone.
user = models.User.from_dict({"username": "pyuser", "password": "secret", "permissions": {"/": ["*"]}, "quota_size": 4096})
made = client.add_user(json_body=user)
check(made is not None and made.username == "pyuser", "add_user")
check([row.username for row in elsewhere.get_users() if row.username == "pyuser"] == ["pyuser"], "get_users on another node")
read = elsewhere.get_user_by_username("pyuser")
check(read.quota_size == 4096 and read.home_dir.endswith("/pyuser"), "get_user_by_username")
read.max_sessions = 3
check(client.update_user("pyuser", json_body=read).message == "User updated", "update_user with what was read")
check(elsewhere.get_user_by_username("pyuser").max_sessions == 3, "the update elsewhere")
check(elsewhere.get_user_by_username("nobody") is None, "a missing user")
check(client.add_user(json_body=user) is None, "the same name twice")

# Folders.
folder = models.BaseVirtualFolder.from_dict({"name": "pyfolder", "mapped_path": "/srv/pyfolder", "description": "d"})
check(client.add_folder(json_body=folder).mapped_path == "/srv/pyfolder", "add_folder")
read = elsewhere.get_folder_by_name("pyfolder")
read.description = "changed"
check(client.update_folder("pyfolder", json_body=read).message == "Folder updated", "update_folder")
check([row.description for row in elsewhere.get_folders() if row.name == "pyfolder"] == ["changed"], "get_folders")

# Admins.
second = models.Admin.from_dict(
    {"username": "pyadmin", "password": "other", "permissions": ["view_users"], "filters": {"allow_list": ["127.0.0.0/8"]}}
)
check(client.add_admin(json_body=second).username == "pyadmin", "add_admin")
read = elsewhere.get_admin_by_username("pyadmin")
check(read.filters.allow_list == ["127.0.0.0/8"], "get_admin_by_username")
read.email = "py@example.org"
check(client.update_admin("pyadmin", json_body=read).message == "Admin updated", "update_admin")
check(len([row for row in elsewhere.get_admins() if row.username == "pyadmin"]) == 1, "get_admins")
limited = Client(base_url=other, user="pyadmin", password="other", timeout=60.0)
check(any(row.username == "pyuser" for row in limited.get_users()), "another admin logs in")
check(limited.delete_user("pyuser") is None, "without the permission nothing is deleted")

# API keys.
key = add_api_key.sync(client=client, json_body=models.APIKey.from_dict({"name": "py", "scope": 1, "admin": "pyadmin"}))
check(key is not None and key.key, "add_api_key")
by_key = AuthenticatedClient(base_url=other, token="unused", headers={"X-SFTPGO-API-KEY": key.key}, timeout=60.0)
from sftpgo_client.base.api.users import get_users  # noqa: E402

check(any(row.username == "pyuser" for row in get_users.sync(client=by_key)), "the API key on another node")
ids = [row.id for row in get_api_keys.sync(client=client)]
check(len(ids) == 1, "get_api_keys")
check(delete_api_key.sync(ids[0], client=client).message == "API key deleted", "delete_api_key")

# Connections, quotas.
check(client.get_connections() == [], "get_connections")
check(client.start_user_quota_scan("pyuser") is not None, "start_user_quota_scan")
check(isinstance(client.get_users_quota_scans(), list), "get_users_quota_scans")

# Everything out, and in again after the records are gone.
dump = client.dumpdata(output_data=models.DumpdataOutputData.VALUE_1)
users = dump.users if hasattr(dump, "users") else dump.additional_properties["users"]
check(len(users) >= 2, "dumpdata")
raw = dump.to_dict()
check(client.delete_user("pyuser").message == "User deleted", "delete_user")
check(client.delete_admin("pyadmin").message == "Admin deleted", "delete_admin")
check(client.delete_folder("pyfolder").message == "Folder deleted", "delete_folder")
check(client.loaddata_from_request_body(json_body=models.BackupData.from_dict(raw)).message == "Data restored", "loaddata")
check(elsewhere.get_user_by_username("pyuser").max_sessions == 3, "the user is back")
again = Client(base_url=base, user="pyadmin", password="other", timeout=60.0)
check(again.get_users() is not None, "the admin is back with its password")
check(client.delete_user("pyuser").message == "User deleted", "delete_user again")

check(client.logout().message, "logout")
