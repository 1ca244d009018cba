"""A server that takes commits as Hugging Face's does, and holds the files of one repository."""

import base64
import json

from tests.local_server import Answering, LocalServer


class Hub(LocalServer):
    """Holds one repository once it was made; ``asked`` notes requests, ``refuses`` a status for every commit."""

    def __init__(self, **files: bytes) -> None:
        self.files: dict[str, bytes] = dict(files)
        self.made = bool(files)
        self.refuses = 0
        self.asked: list[str] = []
        self.commits: list[str] = []
        self.token = ""
        hub = self

        class Handler(Answering):
            def do_GET(self):
                path = self.path.partition("?")[0]
                hub.asked.append(f"GET {path}")
                if not hub.made:
                    self.send(404, {"error": "Repository not found"}, headers={"X-Error-Code": "RepoNotFound"})
                elif "/tree/" in path:
                    self.send(200, [{"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                                    for name, data in hub.files.items()])  # fmt: skip
                else:
                    names = [{"rfilename": name} for name in hub.files]
                    self.send(200, {"id": "me/board", "sha": "1" * 40, "siblings": names})

            def do_POST(self):
                data = self.body()
                path = self.path.partition("?")[0]
                hub.asked.append(f"POST {path}")
                hub.token = self.headers.get("Authorization", "")
                if path == "/api/repos/create":
                    hub.made = True
                    asked = json.loads(data)
                    kind = f"{asked['type']}s/" if asked.get("type") == "dataset" else ""
                    self.send(200, {"url": f"{hub.url}/{kind}me/board", "id": "0"})
                elif path == "/api/validate-yaml":
                    self.send(200, {"errors": [], "warnings": []})
                elif "/preupload/" in path:
                    files = json.loads(data)["files"]
                    self.send(200, {"files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                                              for file in files]})  # fmt: skip
                elif "/commit/" in path and hub.refuses:
                    self.send(hub.refuses, {"error": "no right to write"})
                elif "/commit/" in path:
                    for line in map(json.loads, data.splitlines()):
                        value = line["value"]
                        if line["key"] == "header":
                            hub.commits.append(value["summary"])
                        elif line["key"] == "file":
                            hub.files[value["path"]] = base64.b64decode(value["content"])
                        elif line["key"] == "deletedFile":
                            del hub.files[value["path"]]
                    oid = "2" * 40
                    self.send(200, {"commitUrl": f"{hub.url}/datasets/me/board/commit/{oid}", "commitOid": oid})
                else:
                    self.send(404, {"error": f"no {path}"})

        super().__init__(Handler)
