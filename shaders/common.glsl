// What every kernel shares: buffers by address, and the number of a workgroup in a grid that may be folded (Dispatch.Linear).
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_scalar_block_layout : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_EXT_control_flow_attributes : require

layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Floats { float at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Integers { int at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 16) buffer Vectors { vec4 at[]; };

// Specialization constant 0 is always the number of invocations of a workgroup.
layout(local_size_x_id = 0) in;

uint groupNumber() { return gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x; }

uint invocationNumber() { return groupNumber() * gl_WorkGroupSize.x + gl_LocalInvocationID.x; }
