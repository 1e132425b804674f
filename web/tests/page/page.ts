// What the address of the page asks for beyond nodes.
import { api, grow } from "./api";

const query = new URLSearchParams(location.search);
document.body.classList.toggle("light", query.get("theme") === "light");
Object.assign(window, { grow, api });
