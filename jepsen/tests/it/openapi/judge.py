"""Judges a document and a node: judge.py FILE BASE, with the admin token in TOKEN."""

import json
import os
import sys
import urllib.error
import urllib.request

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

FILE, BASE = sys.argv[1:3]
with open(FILE, encoding="utf-8") as opened:
    DOCUMENT = json.load(opened)
seen = set()


def ask(method, path, template=None, body=None, headers=None):
    """One call; its answer must be as the document says of that status."""
    template = template or path.split("?")[0]
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(BASE + path, data=data, method=method)
    for name, value in {"Authorization": "Bearer " + os.environ["TOKEN"], **(headers or {})}.items():
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    operation = DOCUMENT["paths"][template][method.lower()]
    responses = operation["responses"]
    response = responses.get(str(status), responses["default"])
    if "$ref" in response:
        response = DOCUMENT["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
    value = json.loads(text)
    conforms(response["content"]["application/json"]["schema"], value, f"{method} {path} answers {status}")
    if status < 300:
        seen.add((method.lower(), template))
        if body is not None:
            conforms(operation["requestBody"]["content"]["application/json"]["schema"], body, f"{method} {path} takes")
    return status, value


def conforms(schema, value, what):
    errors = list(Draft202012Validator({**schema, "components": DOCUMENT["components"]}).iter_errors(value))
    assert not errors, f"{what} {json.dumps(value)}: {[error.message for error in errors]}"


def expect(status, *call, **more):
    got, value = ask(*call, **more)
    assert got == status, f"{call}: {got} {value}"
    return value


validate(DOCUMENT, cls=OpenAPIV31SpecValidator)
with urllib.request.urlopen(BASE + "/openapi.json", timeout=30) as answer:
    assert json.load(answer) == DOCUMENT, "the node serves what the program prints"
seen.add(("get", "/openapi.json"))

for path in ["/version", "/status", "/cluster", "/events", "/dumpdata?output-data=1"]:
    expect(200, "GET", path)
kinds = {
    "folders": ("name", {"name": "one", "mapped_path": "/srv/one"}),
    "groups": ("name", {"name": "one", "user_settings": {"max_sessions": 2}, "virtual_folders": [{"name": "one", "virtual_path": "/one"}]}),
    "roles": ("name", {"name": "one"}),
    "admins": ("username", {"username": "one", "password": "correct horse", "permissions": ["*"]}),
    "users": ("username", {"username": "one", "permissions": {"/": ["list"]}, "groups": [{"name": "one", "type": 1}]}),
}
for kind, (key, body) in kinds.items():
    one, template = f"/{kind}/one", f"/{kind}/{{{key}}}"
    expect(201, "POST", f"/{kind}", body=body)
    expect(409, "POST", f"/{kind}", body=body)
    expect(400, "POST", f"/{kind}", body={"no_such_field": 1})
    expect(200, "GET", f"/{kind}?order=DESC&limit=5")
    read = expect(200, "GET", one, template)
    expect(200, "PUT", one, template, body=read)
    expect(412, "PUT", one, template, body=read, headers={"If-Match": '"1"'})
    expect(404, "GET", f"/{kind}/nobody", template)
assert len(expect(200, "GET", "/connections")) == 1
expect(202, "POST", "/quotas/users/one/scan", "/quotas/users/{username}/scan")
expect(200, "GET", "/quotas/users/scans")
for usage in ["usage", "transfer-usage"]:
    expect(501, "PUT", f"/quotas/users/one/{usage}", f"/quotas/users/{{username}}/{usage}")
    seen.add(("put", f"/quotas/users/{{username}}/{usage}"))
key = expect(201, "POST", "/apikeys", body={"name": "ci", "scope": 1, "admin": "one"})["key"].split(".")[0]
expect(200, "GET", "/apikeys")
read = expect(200, "GET", f"/apikeys/{key}", "/apikeys/{id}")
expect(200, "PUT", f"/apikeys/{key}", "/apikeys/{id}", body=read)
expect(200, "DELETE", f"/apikeys/{key}", "/apikeys/{id}")
dump = expect(200, "GET", "/dumpdata?output-data=1")
expect(200, "POST", "/loaddata", body=dump)
basic = __import__("base64").b64encode(b"one:correct horse").decode()
token = expect(200, "GET", "/token", headers={"Authorization": f"Basic {basic}"})["access_token"]
expect(200, "GET", "/logout", headers={"Authorization": f"Bearer {token}"})
expect(401, "GET", "/users", headers={"Authorization": f"Bearer {token}"})
connection = expect(200, "GET", "/connections")[0]["connection_id"]
expect(200, "DELETE", f"/connections/{connection}", "/connections/{id}")
for kind, (key, _) in reversed(kinds.items()):
    expect(200, "DELETE", f"/{kind}/one", f"/{kind}/{{{key}}}")
missing = {(method, path) for path, item in DOCUMENT["paths"].items() for method in item} - seen
assert not missing, f"not asked: {missing}"
print("every operation was answered as described:", len(seen))
