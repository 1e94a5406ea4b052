export const title = "models"
export const about = ""
export function mount(root) { root.append("soon"); return {} }
