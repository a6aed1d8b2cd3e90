/* A folder that is chosen or dropped → the files of the one adapter in it. */
(function () {
  "use strict";
  const A = window.Studio.adapters;
  const CONFIG = "adapter_config.json", WANTED = /\.(safetensors|json|jinja|txt)$/i, PICKLE = /\.(bin|pt|pth|ckpt|pkl|pickle)$/i;
  const DEEP = 4, MOST = 5000; // folders below the dropped one, files in all: whoever drops a whole disk shall not wait
  const home = (path) => path.split("/").slice(0, -1).join("/");

  /** [{file, path}] of files as an input gives them; path: with the folders that they came from. */
  A.withPaths = (files) => [...files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));

  /** [{file, path}] of what was dropped. To be called within the event: what was dropped is gone after it. */
  A.dropped = async (transfer) => {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.some((entry) => entry.isDirectory)) return A.withPaths(transfer.files);
    const found = [];
    for (const entry of entries) await gather(entry, "", 0, found);
    return found;
  };
  async function gather(entry, above, depth, found) {
    const path = above + entry.name;
    if (entry.isFile) found.push({ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path });
    if (!entry.isDirectory || depth > DEEP) return;
    const reader = entry.createReader(), inside = [];
    for (let some; (some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length && inside.length < MOST;) inside.push(...some);
    // An adapter's folder may hold those of its checkpoints, each with an adapter_config.json of its own.
    const whole = inside.some((one) => one.isFile && one.name === CONFIG);
    for (const one of inside) if (found.length < MOST && !(whole && one.isDirectory)) await gather(one, `${path}/`, depth + 1, found);
  }

  /** {files, name: of their folder} or {key, values: why not, in words}. Files without folders are taken as they are. */
  A.oneAdapter = (found) => {
    if (!found.some(({ path }) => path.includes("/"))) return { files: found.map(({ file }) => file), name: "" };
    const homes = [...new Set(found.filter(({ path }) => path.split("/").pop() === CONFIG).map(({ path }) => home(path)))].sort();
    const top = homes.filter((one) => !homes.some((other) => other !== one && (other === "" || one.startsWith(`${other}/`))));
    if (!top.length) return { key: "adapters_folder_none" };
    if (top.length > 1) return { key: "adapters_folder_several", values: { n: top.length, names: top.slice(0, 5).join(", ") } };
    const here = found.filter(({ path }) => home(path) === top[0]);
    // A trainer leaves large files beside the adapter. A pickle is sent where it is all there is, to be refused by name.
    const bare = !here.some(({ path }) => /\.safetensors$/i.test(path));
    const files = here.filter(({ path }) => WANTED.test(path) || (bare && PICKLE.test(path))).map(({ file }) => file);
    return { files, name: top[0].split("/").pop() };
  };
})();
