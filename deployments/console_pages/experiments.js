export const title = "experiments"
export const about = ""
export function mount(root) { root.append("soon"); return {} }
